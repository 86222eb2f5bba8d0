"""All cases of the assignment: one per check, written in one module per kind; and all workloads.

Takes: nothing. Gives: the modules that declare them. Does not cover: weights and tolerances (see
`assignment.toml`).
"""

from . import (
    attention_cases,
    attention_combinations,
    elementwise_cases,
    elementwise_combinations,
    loss_cases,
    loss_combinations,
    norm_cases,
    norm_combinations,
    product_cases,
    product_combinations,
    workloads,
)

MODULES = (
    *(elementwise_cases, norm_cases, loss_cases, product_cases, attention_cases),
    *(elementwise_combinations, norm_combinations, loss_combinations, product_combinations),
    *(attention_combinations, workloads),
)
