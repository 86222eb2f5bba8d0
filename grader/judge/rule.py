"""The one rule by which a case passes, and what each fault means.

Takes: a `CaseMeasurement`, tolerances by dtype. Gives: `first_trouble`, and its parts. Does not
cover: how a trouble reads (see `judge.judge` for reports, `student.verdict` for a student's own
machine). Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from grader.evidence.comparison import Comparison, Mismatch
from grader.evidence.faults import Fault, FaultKind
from grader.evidence.observations import CaseMeasurement, ErrorObservation, Observation
from grader.judge.judgement import Cause


def describe_fault(fault: Fault) -> str:
    """Return what happened and where; of a group, where each of its ranks stood."""
    if not fault.stacks:
        return f"{fault.message} ({fault.where})" if fault.where else fault.message
    stood = (
        f"rank {stack.rank} {stack.state}" + (f" ({stack.where})" if stack.where else "")
        for stack in fault.stacks
    )
    return f"{fault.message}. When the grader looked, {', '.join(stood)}"


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
    FaultKind.INFRASTRUCTURE: Cause.INFRASTRUCTURE,
    FaultKind.AUTHOR: Cause.AUTHOR,
    FaultKind.NO_DEVICE: Cause.NO_DEVICE,
}

CAUSE_OF_FAULT_IN_TARGETS: Mapping[FaultKind, Cause] = {
    **CAUSE_OF_FAULT,
    # All checks have passed by then: it is not wrong, it needs more than a target allows.
    FaultKind.TIMEOUT: Cause.TOO_SLOW,
    FaultKind.OUT_OF_MEMORY: Cause.TOO_MUCH_MEMORY,
}
"""The same for a measured run of a performance target, but for these two."""

NOTHING_COMPARED = Fault(kind=FaultKind.AUTHOR, message="the case compared nothing")
"""What is wrong with a case that came to its end and asked for nothing: it proves nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why a case does not pass.

    Attributes:
        cause: of what went wrong.
        seen: the observation that is not as expected, or the fault that ended the case.
    """

    cause: Cause
    seen: Observation | Fault


def first_trouble(case: CaseMeasurement, tolerances: Tolerances) -> Trouble | None:
    """Return the first thing that went wrong in a case, in the order in which it happened."""
    for observation in case.observations:
        if is_wrong(observation, tolerances):
            is_error = isinstance(observation, ErrorObservation)
            cause = Cause.WRONG_ERROR if is_error else Cause.WRONG_VALUE
            return Trouble(cause=cause, seen=observation)
    faults = case.faults or (() if case.observations else (NOTHING_COMPARED,))
    for fault in faults:
        return Trouble(cause=CAUSE_OF_FAULT[fault.kind], seen=fault)
    return None


def is_wrong(observation: Observation, tolerances: Tolerances) -> bool:
    """Return whether an observation is not as expected."""
    if isinstance(observation, ErrorObservation):
        return not observation.matches
    found = observation.comparison
    within = found.error <= allowed_error(found, tolerances)  # a NaN is no pass
    return found.mismatch is not Mismatch.NONE or not within


def allowed_error(found: Comparison, tolerances: Tolerances) -> float:
    """Return the largest error that a comparison may have."""
    return tolerances.get(found.dtype, 0.0)
