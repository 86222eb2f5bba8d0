"""All cases of the assignment: one per check, written in one module per problem; and all workloads.

Takes: nothing. Gives: the modules that declare them. Does not cover: weights and tolerances (see
`assignment.toml`).
"""

from . import (
    accumulate_cases,
    adamw_cases,
    adamw_rows,
    autocast_cases,
    autocast_rows,
    clip_cases,
    rank_cases,
    rounding_cases,
    scaler_cases,
    scaler_rounds,
    train_cases,
    workloads,
)

MODULES = (
    autocast_cases,
    autocast_rows,
    adamw_cases,
    adamw_rows,
    scaler_cases,
    scaler_rounds,
    clip_cases,
    accumulate_cases,
    rounding_cases,
    train_cases,
    rank_cases,
    workloads,
)
