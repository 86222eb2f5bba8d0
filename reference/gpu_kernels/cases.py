"""All cases of the assignment: one per check, written in one module per kind; and all workloads.

Takes: nothing. Gives: the modules that declare them. Does not cover: weights and tolerances (see
`assignment.toml`).
"""

from . import (
    attention_cases,
    elementwise_cases,
    loss_cases,
    norm_cases,
    product_cases,
    workloads,
)

MODULES = (elementwise_cases, norm_cases, loss_cases, product_cases, attention_cases, workloads)
