"""The rule by which a case passes, and the cause that each kind of fault has.

The same rule judges submissions (`judge.judge`, `judge.targets`) and a student's public cases on
their own machine (`student.verdict`), so both always agree. Pure. The callers word the failure for
people.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grader.evidence.comparison import Comparison, Mismatch, rounding_text
from grader.evidence.faults import Fault, FaultKind, RankStack
from grader.evidence.observations import (
    CaseMeasurement,
    ErrorObservation,
    Observation,
)
from grader.judge.judgement import Cause

Tolerances = Mapping[str, float]
"""Largest allowed error by name of dtype; a dtype that is not listed is compared exactly."""

CAUSE_OF_FAULT: Mapping[FaultKind, Cause] = {
    FaultKind.MISSING: Cause.MISSING,
    FaultKind.EXCEPTION: Cause.CRASH,
    FaultKind.CRASH: Cause.CRASH,
    FaultKind.TIMEOUT: Cause.TIMEOUT,
    FaultKind.OUT_OF_MEMORY: Cause.OUT_OF_MEMORY,
    FaultKind.BAD_REPLY: Cause.WRONG_VALUE,
    FaultKind.INPUT_CHANGED: Cause.WRONG_VALUE,
    FaultKind.BUSY: Cause.INFRASTRUCTURE,
    FaultKind.INFRASTRUCTURE: Cause.INFRASTRUCTURE,
    FaultKind.AUTHOR: Cause.AUTHOR,
    FaultKind.NO_DEVICE: Cause.NO_DEVICE,
}

CAUSE_OF_FAULT_IN_TARGETS: Mapping[FaultKind, Cause] = {
    **CAUSE_OF_FAULT,
    # All checks have passed by then, so the code is correct; it needs more than the target allows.
    FaultKind.TIMEOUT: Cause.TOO_SLOW,
    FaultKind.OUT_OF_MEMORY: Cause.TOO_MUCH_MEMORY,
}
"""The cause of a fault in a timed run; only the two kinds above differ from `CAUSE_OF_FAULT`."""

MISMATCH_TEXT: Mapping[Mismatch, str] = {
    Mismatch.KIND: "has the wrong type",
    Mismatch.LENGTH: "has another length",
    Mismatch.KEYS: "has other keys",
    Mismatch.DTYPE: "has the wrong dtype",
    Mismatch.SHAPE: "has the wrong shape",
    Mismatch.VALUE: "is not equal to the expected value",
    Mismatch.NOT_FINITE: "has NaN or infinity in the wrong place",
    Mismatch.ROUNDING: "is not the exact value rounded once",
    Mismatch.STATISTIC: "is not as chance would have it",
}

NOTHING_COMPARED = Fault(kind=FaultKind.AUTHOR, message="the case compared nothing")
"""The fault of a case that ends without a comparison: a mistake of the author."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why a case does not pass.

    Attributes:
        seen: the observation that is not as expected, or the fault that ended the case.
    """

    cause: Cause
    seen: Observation | Fault


def describe_fault(fault: Fault) -> str:
    """Return what happened and where; for a process group, also what each rank was doing."""
    if not fault.stacks:
        return f"{fault.message} ({fault.where})" if fault.where else fault.message
    alike: dict[tuple[str, str], list[int]] = {}
    for stack in fault.stacks:
        alike.setdefault((stack.state, stack.where), []).append(stack.rank)
    states = (
        f"{name_ranks(ranks)} {state}" + (f" ({where})" if where else "")
        for (state, where), ranks in alike.items()
    )
    return f"{fault.message}. At that moment {', '.join(states)}"


def describe_stacks(stacks: Sequence[RankStack]) -> str:
    """Return what each rank was doing, with its stack; what several did alike is said once."""
    alike: dict[tuple[str, str], list[int]] = {}
    for stack in stacks:
        alike.setdefault((stack.state, stack.text), []).append(stack.rank)
    return "\n".join(
        f"{name_ranks(ranks)} {state}\n{text}".rstrip() for (state, text), ranks in alike.items()
    )


def name_ranks(ranks: Sequence[int]) -> str:
    """Return "rank 1", "ranks 0 and 2" or "ranks 0, 1 and 3"."""
    *most, last = map(str, ranks)
    return f"ranks {', '.join(most)} and {last}" if most else f"rank {last}"


def describe_dtypes(dtypes: Sequence[str]) -> str:
    """Return a sentence on the tensors that a call got; empty if there were none."""
    return f" The call got tensors of {' and '.join(dtypes)}." if dtypes else ""


def first_trouble(case: CaseMeasurement, tolerances: Tolerances) -> Trouble | None:
    """Return the first thing that went wrong in a case, in the order in which it happened."""
    for observation in case.observations:
        if is_wrong(observation, tolerances):
            is_error = isinstance(observation, ErrorObservation)
            cause = Cause.WRONG_ERROR if is_error else Cause.WRONG_VALUE
            return Trouble(cause=cause, seen=observation)
    if case.observations and not case.faults:
        return None
    fault = case.faults[0] if case.faults else NOTHING_COMPARED
    return Trouble(cause=CAUSE_OF_FAULT[fault.kind], seen=fault)


def is_wrong(observation: Observation, tolerances: Tolerances) -> bool:
    """Return whether an observation is not as expected."""
    if isinstance(observation, ErrorObservation):
        return not observation.matches
    found = observation.comparison
    within = found.error <= allowed_error(found, tolerances)  # false for a NaN
    return found.mismatch is not Mismatch.NONE or not within


def describe_wrong(seen: Observation, tolerances: Tolerances) -> str:
    """Return what is not as expected, and how much error would be allowed.

    Without the value itself: students read it of hidden cases.
    """
    if isinstance(seen, ErrorObservation):
        return (
            f"{seen.label}: expected {seen.expected}, but {seen.got or 'no exception'} was raised."
        )
    found, label = seen.comparison, seen.label
    if found.mismatch is not Mismatch.NONE:
        more = rounding_text(found) if found.mismatch is Mismatch.ROUNDING else found.difference
        because = f": {more[:1].lower()}{more[1:]}" if more else ""
        return f"{label} {MISMATCH_TEXT[found.mismatch]}{because}."
    allowed = f"at most {allowed_error(found, tolerances):.3g} is allowed for {found.dtype}"
    if found.dtype not in tolerances:
        allowed = f"and {found.dtype} must be equal bit for bit, because no tolerance is stated"
    return f"{label}: the error is {found.error:.3g} of the output's scale, {allowed}."


def allowed_error(found: Comparison, tolerances: Tolerances) -> float:
    """Return the largest allowed error, as a share of the output's scale; 0 for exact dtypes."""
    return tolerances.get(found.dtype, 0.0)
