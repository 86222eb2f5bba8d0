"""The nouns of the advice: what is told about each kernel of one submission.

Takes: nothing. Gives: `Advice`, `KernelAdvice`, `KernelResources`. Does not cover: how it is made
(see `advice.adviser`).

The evidence is `Evidence.ADVICE`: everything here was said by the box, where the submission could
have said it itself. No verdict, no status and no point depends on it.
"""

from dataclasses import dataclass
from enum import StrEnum


class KernelOutcome(StrEnum):
    """What became of one kernel on one target.

    COMPILES: the compiler and the assembler took it.
    FAILS: the compiler or the assembler refused it.
    NOT_REACHED: no public case launched it, so its argument types are unknown.
    """

    COMPILES = "compiles"
    FAILS = "fails"
    NOT_REACHED = "not_reached"


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelResources:
    """What a compiled kernel takes on its target.

    Attributes:
        registers: per thread.
        spill_bytes: local memory per thread, where registers are spilled to.
        shared_bytes: shared memory per block.
        warps: per block; 0 where only the launch decides them, as in C++.
        occupancy: warps that fit on a multiprocessor, as a part of the most it can hold; computed
            by `advice.occupancy` from the other fields. 0 if one block does not fit, or warps are
            not known.
    """

    registers: int
    spill_bytes: int
    shared_bytes: int
    warps: int
    occupancy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelAdvice:
    """One kernel, compiled for one target with one set of argument types.

    Attributes:
        kernel: name of the function.
        place: of its definition, "cell 3, line 2" or "kernels.py, line 41"; may be empty.
        target: such as `sm_80`; empty for a kernel that no case reached.
        outcome: what became of it.
        arguments: types and constants that it was compiled for; may be empty.
        message: of the compiler, for a kernel that fails; empty otherwise.
        message_place: what the message points at, in the form of `place`; may be empty.
        resources: one entry where they are known, else none.
    """

    kernel: str
    place: str
    target: str
    outcome: KernelOutcome
    arguments: str
    message: str
    message_place: str
    resources: tuple[KernelResources, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What is told about all kernels of one submission.

    Attributes:
        kernels: in the order in which the cases launched them; those not reached come last.
        notice: for the student, why there is no more than this; empty if nothing is missing.
        detail: for staff, what stopped it; empty if nothing did.
    """

    kernels: tuple[KernelAdvice, ...]
    notice: str
    detail: str


NO_ADVICE = Advice(kernels=(), notice="", detail="")
"""Of a submission without a kernel, and of records made before there was advice."""
