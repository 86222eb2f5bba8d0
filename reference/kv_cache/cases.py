"""All cases of the assignment: one per check, written in one module per problem.

Takes: nothing. Gives: the case makers, under names that say problem and check. Does not cover:
weights and tolerances (see `assignment.toml`).
"""

from grader.author import CaseMaker

from . import (
    attention_cases,
    bytes_cases,
    generate_cases,
    growing_cases,
    quantized_cases,
    slot_cases,
    window_cases,
)

_MODULES = (
    growing_cases,
    attention_cases,
    generate_cases,
    window_cases,
    slot_cases,
    quantized_cases,
    bytes_cases,
)

globals().update(
    {
        f"{maker.problem}_{maker.check}": maker
        for module in _MODULES
        for maker in vars(module).values()
        if isinstance(maker, CaseMaker)
    }
)
