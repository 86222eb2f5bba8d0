"""All cases of the assignment: one per check, written in one module per problem; and all workloads.

Takes: nothing. Gives: the modules that declare them. Does not cover: weights and tolerances (see
`assignment.toml`).
"""

from . import (
    allocator_cases,
    attention_cases,
    fork_cases,
    fork_rows,
    prefill_cases,
    prefix_cases,
    scheduler_cases,
    scheduler_rows,
    split_cases,
    workloads,
    write_cases,
)

MODULES = (
    allocator_cases,
    write_cases,
    attention_cases,
    split_cases,
    prefix_cases,
    fork_cases,
    fork_rows,
    prefill_cases,
    scheduler_cases,
    scheduler_rows,
    workloads,
)
