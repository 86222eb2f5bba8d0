"""All cases of the assignment: one per check, written in one module per problem; and all workloads.

Takes: nothing. Gives: the makers, under names that say problem and check or target. Does not cover:
weights and tolerances (see `assignment.toml`).
"""

from grader.author import CaseMaker, Workload

from . import (
    accumulate_cases,
    adamw_cases,
    autocast_cases,
    clip_cases,
    rank_cases,
    rounding_cases,
    scaler_cases,
    train_cases,
    workloads,
)

_MODULES = (
    autocast_cases,
    adamw_cases,
    scaler_cases,
    clip_cases,
    accumulate_cases,
    rounding_cases,
    train_cases,
    rank_cases,
)

globals().update(
    {
        f"{maker.problem}_{maker.check}": maker
        for module in _MODULES
        for maker in vars(module).values()
        if isinstance(maker, CaseMaker)
    }
)
globals().update(
    {
        f"{maker.problem}_{maker.target}": maker
        for maker in vars(workloads).values()
        if isinstance(maker, Workload)
    }
)
