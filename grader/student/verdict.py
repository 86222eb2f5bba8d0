"""Judges public cases on a student's machine by the published tolerances.

The result says what was expected, what was found, where, and what to look at next. Grades are made
by `judge`, with the same rule.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest

import torch

from grader.assignment.steps import Expect, Value
from grader.assignment.table import Check
from grader.correctness.drive import UNUSABLE
from grader.evidence.comparison import (
    Comparison,
    Mismatch,
    labels_of_parts,
    name_part,
    part_pairs,
    rounding_text,
)
from grader.evidence.distance import Way, differing_entries
from grader.evidence.faults import LOAD_FAILED, Fault, FaultKind
from grader.evidence.observations import CaseMeasurement, ErrorObservation, ValueObservation
from grader.judge.judgement import Cause
from grader.judge.rule import (
    NOTHING_COMPARED,
    Tolerances,
    allowed_error,
    describe_stacks,
    first_trouble,
    is_wrong,
)
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
    Mismatch.LENGTH: "The length differs: compare what you return with the docstring.",
    Mismatch.KEYS: "The keys differ: compare what you return with the docstring.",
    Mismatch.DTYPE: "The dtype differs: look at where you create or convert tensors.",
    Mismatch.SHAPE: "The shape differs: print the shape after each step of your code.",
    Mismatch.VALUE: "The value differs: this one must match exactly.",
    Mismatch.STATISTIC: "This is a check of statistics: no single entry is wrong by itself.",
    Mismatch.ROUNDING: "Compute in a wider dtype, and round to the dtype of the result once.",
    Mismatch.NOT_FINITE: "inf or nan at the wrong position: look for overflow, 0/0 and empty rows.",
}


_LOADING = "loading your file"
_DENIALS = ("OperationDenied", "ModuleDenied")
_DENIED = "The problem asks you to write this yourself: grading refuses it in the same way."
MAX_OF_CASE = 6
"""Most things that are told of one case; the next ones often follow from them."""
MAX_OF_CHECK = 8
MAX_MEASURED = 10_000
"""Entries among which the largest difference is looked for."""
MAX_SHOWN = 4
"""Entries of a row that are shown side by side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where an observation of a case comes from.

    Attributes:
        steps: number of steps up to and including the one that was observed.
        index: of the part that was compared, if it was a value; `got` and `want` are that part.
        way: how tensors are compared.
    """

    steps: int
    index: str = ""
    got: Value = None
    want: Value = None
    way: Way = field(default_factory=Way)

    @classmethod
    def of(cls, step: Expect, index: str, got: Value, want: Value, *, steps: int = 0) -> "Origin":
        """Return the origin of one part of what a step compares."""
        way = Way(exact=step.exact, per_row=step.per_row, rounded_once=step.rounded_once)
        rest = name_part(index, labels_of_parts(step.label, step.parts, step.want))[1]
        return cls(steps=steps, index=rest, got=got, want=want, way=way)


def origins_of(step: Expect, steps: int) -> list[Origin]:
    """Return where the observations of a comparison come from: one for each part."""
    return [Origin.of(step, *pair, steps=steps) for pair in part_pairs(step.got, step.want)]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseVerdict:
    """The verdict on one public case; its findings are all that went wrong, in order."""

    cause: Cause
    findings: tuple[PublicFinding, ...] = ()

    @property
    def reason(self) -> PublicFinding | None:
        """The first thing that went wrong, if any."""
        return next(iter(self.findings), None)


def judge_case(
    seen: CaseMeasurement, tolerance: Tolerances, origins: Sequence[Origin] = (), name: str = ""
) -> CaseVerdict:
    """Return the verdict on one case: its wrong observations, then its fault.

    Args:
        seen: what was observed.
        tolerance: the largest allowed error of each dtype.
        origins: where each observation, and then the fault, comes from; may be left out.
        name: of the case, for the student.
    """
    trouble = first_trouble(seen, tolerance)
    if trouble is None:
        return CaseVerdict(cause=Cause.NONE)
    findings: list[PublicFinding] = []
    cause = trouble.cause
    of_values = origins[: len(seen.observations)]
    for one, origin in zip_longest(seen.observations, of_values, fillvalue=None):
        if one is None or not is_wrong(one, tolerance):
            continue
        if isinstance(one, ErrorObservation):
            finding = _wrong_error(one)
        else:
            finding = _wrong_value(one, tolerance, origin)
        findings.append(replace(finding, steps=origin.steps if origin else 0))
    for fault in seen.faults or (() if findings else (NOTHING_COMPARED,)):
        finding = replace(_fault(fault), steps=origins[-1].steps if origins else 0)
        if is_denial(fault):
            cause, finding = Cause.FORBIDDEN, replace(finding, hint=_DENIED)
        findings.append(finding)
    return CaseVerdict(cause=cause, findings=_bounded(findings, name))


def _bounded(findings: Sequence[PublicFinding], name: str) -> tuple[PublicFinding, ...]:
    kept = [replace(finding, case=name) for finding in findings[:MAX_OF_CASE]]
    if more := len(findings) - len(kept):
        label = f"{kept[-1].label} (and {more} more in this case)"
        kept[-1] = replace(kept[-1], label=label)
    return tuple(kept)


def is_denial(fault: Fault) -> bool:
    """Return whether a case ended because it used what its problem denies (`runner.denial`)."""
    texts = (fault.message, fault.detail)
    return any(f"{name}: " in text for name in _DENIALS for text in texts)


def judge_check(
    problem: str,
    check: Check,
    seen: Sequence[CaseMeasurement],
    *,
    description: str,
    origins: Sequence[Sequence[Origin]] = (),
) -> PublicCheck:
    """Return the verdict on one check: the cause of its first case that did not pass.

    Of that case all findings are kept, of later ones the first, together `MAX_OF_CHECK`. A check
    without a public case compares nothing, which is the course's fault.
    """
    no_case = CaseVerdict(cause=Cause.AUTHOR, findings=(_fault(NOTHING_COMPARED),))
    verdicts = [
        judge_case(one, check.tolerance, of_case, f"{problem}.{check.name}[{one.index}]")
        for one, of_case in zip_longest(seen, origins, fillvalue=())
        if isinstance(one, CaseMeasurement)
    ] or [no_case]
    failed = [verdict for verdict in verdicts if verdict.findings]
    first = failed[0].findings if failed else ()
    later = [verdict.findings[0] for verdict in failed[1:]]
    if first[:1] and first[0].label == _LOADING:  # no case was reached: told once
        first, later = (replace(first[0], case="", steps=0),), []
    return PublicCheck(
        problem=problem,
        check=check.name,
        title=check.title,
        points=check.points,
        cause=failed[0].cause if failed else Cause.NONE,
        findings=(*first, *later)[:MAX_OF_CHECK],
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


def _wrong_value(
    seen: ValueObservation, tolerance: Tolerances, origin: Origin | None
) -> PublicFinding:
    found = seen.comparison
    allowed = allowed_error(found, tolerance)
    plain = PublicFinding(
        label=seen.label,
        expected=found.expected,
        got=found.got,
        where=f"entry {found.where}" if found.where else "",
        hint=_value_hint(found, allowed),
    )
    if origin is None or found.mismatch in UNUSABLE | {Mismatch.STATISTIC}:
        return plain
    got, want = origin.got, origin.want
    if not isinstance(want, torch.Tensor) or not isinstance(got, torch.Tensor) or not want.dim():
        return plain
    wrong = differing_entries(got, want, allowed, origin.way)
    *row, first = wrong[0]
    there = slice(first, first + MAX_SHOWN)
    expected, came = _side_by_side(want[tuple(row)][there], got[tuple(row)][there])
    first_of = f"the first of {len(wrong)} entries that differ"
    which = first_of if len(wrong) > 1 else "the only entry that differs"
    where = (
        f"{origin.index}{list(wrong[0])} is {which}, of {want.numel()}; "
        f"{_largest(got, want, wrong)}"
    )
    return replace(plain, expected=expected, got=came, where=where)


def _largest(got: torch.Tensor, want: torch.Tensor, wrong: list[tuple[int, ...]]) -> str:
    """Return the largest difference in words; one of infinity or NaN counts as the largest."""
    gaps = [abs(got[index].item() - want[index].item()) for index in wrong[:MAX_MEASURED]]
    size, index = max(
        (gap if gap == gap else math.inf, index) for gap, index in zip(gaps, wrong, strict=False)
    )
    return f"the largest difference is {size:.3g}, at {list(index)}"


def _side_by_side(want: torch.Tensor, got: torch.Tensor) -> tuple[str, str]:
    """Return two rows of numbers in columns of equal width."""
    pairs = [(_number(w), _number(g)) for w, g in zip(want.tolist(), got.tolist(), strict=True)]
    widths = [max(map(len, pair)) for pair in pairs]
    rows = [
        "  ".join(pair[side].rjust(width) for pair, width in zip(pairs, widths, strict=True))
        for side in (0, 1)
    ]
    return rows[0], rows[1]


def _number(value: object) -> str:
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def _value_hint(found: Comparison, allowed: float) -> str:
    if found.mismatch is Mismatch.ROUNDING:
        return f"{rounding_text(found)}. {_MISMATCHES[found.mismatch]}"
    if found.mismatch is not Mismatch.NONE:
        difference = found.difference[:1].upper() + found.difference[1:]
        return f"{difference}. {_MISMATCHES[found.mismatch]}".removeprefix(". ")
    size = f"The largest error is {found.error:.2g} of the output's scale, {allowed:.2g} is allowed"
    if found.error < 1000 * allowed:
        return f"{size}: the idea may be right; look at the precision of each step."
    return f"{size}: this is more than rounding."


def _fault(fault: Fault) -> PublicFinding:
    if fault.message.startswith(LOAD_FAILED):
        return PublicFinding(
            label=_LOADING,
            expected="",
            got=fault.message.removeprefix(LOAD_FAILED),
            where=fault.where,
            hint="Fix this first: the code could not be called.",
        )
    expected, hint = _FAULTS.get(fault.kind, ("a reply", ""))
    got = f"{fault.message}: {fault.detail}" if fault.detail else fault.message
    if fault.stacks:
        got += f"\n{describe_stacks(fault.stacks)}"
    return PublicFinding(
        label="the case itself" if fault.kind is FaultKind.AUTHOR else "what your code did",
        expected=expected,
        got=got,
        where=fault.where,
        hint=hint,
    )
