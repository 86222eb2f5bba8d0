"""Judges public cases on a student's machine by the published tolerances.

The result says what was expected, what was found, where, and what to look at next. Grades are made
by `judge`, with the same rule.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from grader.assignment.table import Check
from grader.evidence.comparison import Comparison, Mismatch
from grader.evidence.faults import Fault, FaultKind
from grader.evidence.observations import CaseMeasurement, ErrorObservation, ValueObservation
from grader.judge.judgement import Cause
from grader.judge.rule import NOTHING_COMPARED, Tolerances, allowed_error, first_trouble
from grader.student.result import PublicCheck, PublicFinding

_FAULTS: dict[FaultKind, tuple[str, str]] = {
    FaultKind.MISSING: ("an implementation", "Write it, then run the check again."),
    FaultKind.EXCEPTION: (
        "a reply",
        "Read the line it points to with the inputs of this case in mind.",
    ),
    FaultKind.OUT_OF_MEMORY: ("a reply", "Look for a tensor that grows with each call."),
    FaultKind.BAD_REPLY: (
        "a reply of the promised form",
        "Compare what you return with the docstring.",
    ),
    FaultKind.INPUT_CHANGED: (
        "inputs left as they were",
        "Look for in-place operations (`+=`, `copy_`, names ending in `_`) on arguments.",
    ),
    FaultKind.AUTHOR: ("a working case", "This is not your fault: please tell the course staff."),
}

_MISMATCHES: dict[Mismatch, str] = {
    Mismatch.KIND: "The kind of value differs: compare what you return with the docstring.",
    Mismatch.DTYPE: "The dtype differs: look at where you create or convert tensors.",
    Mismatch.SHAPE: "The shape differs: print the shape after each step of your code.",
    Mismatch.VALUE: "The value differs: this one must match exactly.",
    Mismatch.NOT_FINITE: "inf or nan at the wrong position: look for overflow, 0/0 and empty rows.",
}


_DENIALS = ("OperationDenied", "ModuleDenied")
_DENIED = "The problem asks you to write this yourself: grading refuses it in the same way."


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseVerdict:
    """The verdict on one public case; its reason is the first thing that went wrong, if any."""

    cause: Cause
    reason: PublicFinding | None


def judge_case(seen: CaseMeasurement, tolerance: Tolerances) -> CaseVerdict:
    """Return the verdict on one case: its first wrong observation, or else its fault."""
    trouble = first_trouble(seen, tolerance)
    if trouble is None:
        return CaseVerdict(cause=Cause.NONE, reason=None)
    match trouble.seen:
        case ValueObservation() as observation:
            reason = _wrong_value(observation, tolerance)
        case ErrorObservation() as observation:
            reason = _wrong_error(observation)
        case fault:
            reason = _fault(fault)
            if is_denial(fault):
                return CaseVerdict(cause=Cause.FORBIDDEN, reason=replace(reason, hint=_DENIED))
    return CaseVerdict(cause=trouble.cause, reason=reason)


def is_denial(fault: Fault) -> bool:
    """Return whether a case ended because it used what its problem denies (`runner.denial`)."""
    texts = (fault.message, fault.detail)
    return any(f"{name}: " in text for name in _DENIALS for text in texts)


def judge_check(
    problem: str, check: Check, seen: Sequence[CaseMeasurement], *, description: str
) -> PublicCheck:
    """Return the verdict on one check: that of its first case that did not pass.

    A check without a public case compares nothing, which is the course's fault.
    """
    no_case = CaseVerdict(cause=Cause.AUTHOR, reason=_fault(NOTHING_COMPARED))
    verdicts = [judge_case(one, check.tolerance) for one in seen] or [no_case]
    failed = [verdict for verdict in verdicts if verdict.reason is not None]
    return PublicCheck(
        problem=problem,
        check=check.name,
        title=check.title,
        cause=failed[0].cause if failed else Cause.NONE,
        findings=tuple(verdict.reason for verdict in failed[:1] if verdict.reason is not None),
        cases=len(seen),
        cases_passed=len(verdicts) - len(failed),
        description=description,
    )


def _wrong_error(seen: ErrorObservation) -> PublicFinding:
    got = (seen.text or seen.got) if seen.got else "it returned without an error"
    return PublicFinding(
        label=seen.label,
        expected=f"raises {seen.expected}",
        got=got,
        where="",
        hint=f"Check the arguments first and raise {seen.expected} before you change anything.",
    )


def _wrong_value(seen: ValueObservation, tolerance: Tolerances) -> PublicFinding:
    found = seen.comparison
    return PublicFinding(
        label=seen.label,
        expected=found.expected,
        got=found.got,
        where=f"entry {found.where}" if found.where else "",
        hint=_value_hint(found, allowed_error(found, tolerance)),
    )


def _value_hint(found: Comparison, allowed: float) -> str:
    if found.mismatch is not Mismatch.NONE:
        return _MISMATCHES[found.mismatch]
    size = f"The largest error is {found.error:.2g} of the output's scale, {allowed:.2g} is allowed"
    if found.error < 1000 * allowed:
        return f"{size}: the idea may be right; look at the precision of each step."
    return f"{size}: this is more than rounding."


def _fault(fault: Fault) -> PublicFinding:
    expected, hint = _FAULTS.get(fault.kind, ("a reply", ""))
    return PublicFinding(
        label="the case itself" if fault.kind is FaultKind.AUTHOR else "what your code did",
        expected=expected,
        got=f"{fault.message}: {fault.detail}" if fault.detail else fault.message,
        where=fault.where,
        hint=hint,
    )
