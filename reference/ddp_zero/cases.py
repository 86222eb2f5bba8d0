"""All cases of the assignment: one per check, in modules per problem; and all workloads.

Takes: nothing. Gives: the modules that declare them. Does not cover: weights and tolerances (see
`assignment.toml`).
"""

from . import (
    broadcast_cases,
    clip_cases,
    ddp_cases,
    ddp_rows,
    fsdp_cases,
    fsdp_rows,
    workloads,
    zero_cases,
    zero_rows,
)

MODULES = (
    broadcast_cases,
    ddp_cases,
    ddp_rows,
    zero_cases,
    zero_rows,
    fsdp_cases,
    fsdp_rows,
    clip_cases,
    workloads,
)
