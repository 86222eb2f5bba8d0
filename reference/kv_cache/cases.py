"""All cases of the assignment: one per check, written in one module per problem; and all workloads.

Takes: nothing. Gives: the modules that declare them. Does not cover: weights and tolerances (see
`assignment.toml`).
"""

from . import (
    attention_cases,
    bytes_cases,
    generate_cases,
    growing_cases,
    quantized_cases,
    slot_cases,
    window_cases,
    workloads,
)

MODULES = (
    growing_cases,
    attention_cases,
    generate_cases,
    window_cases,
    slot_cases,
    quantized_cases,
    bytes_cases,
    workloads,
)
