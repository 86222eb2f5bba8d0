"""All cases of the assignment: one per check, written in one module per problem; and all workloads.

Takes: nothing. Gives: the makers, under names that say problem and check or target. Does not cover:
weights and tolerances (see `assignment.toml`).
"""

from grader.author import CaseMaker, Workload

from . import (
    allocator_cases,
    attention_cases,
    fork_cases,
    prefill_cases,
    prefix_cases,
    scheduler_cases,
    split_cases,
    workloads,
    write_cases,
)

_MODULES = (
    allocator_cases,
    write_cases,
    attention_cases,
    split_cases,
    prefix_cases,
    fork_cases,
    prefill_cases,
    scheduler_cases,
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
