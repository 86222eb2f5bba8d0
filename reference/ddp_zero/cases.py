"""All cases of the assignment: one per check, written in one module per problem; and all workloads.

Takes: nothing. Gives: the modules that declare them. Does not cover: weights and tolerances (see
`assignment.toml`).
"""

from . import broadcast_cases, clip_cases, ddp_cases, fsdp_cases, workloads, zero_cases

MODULES = (broadcast_cases, ddp_cases, zero_cases, fsdp_cases, clip_cases, workloads)
