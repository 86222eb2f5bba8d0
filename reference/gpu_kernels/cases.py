"""All cases of the assignment: one per check, written in one module per kind; and all workloads.

Takes: nothing. Gives: the makers, under names that say problem and check or target. Does not cover:
weights and tolerances (see `assignment.toml`).
"""

from grader.author import CaseMaker, Workload

from . import (
    attention_cases,
    elementwise_cases,
    loss_cases,
    norm_cases,
    product_cases,
    workloads,
)

_MODULES = (elementwise_cases, norm_cases, loss_cases, product_cases, attention_cases)

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
