"""What did not pass, told once: equal findings of a check are one, and so are equal reasons.

Takes the judgements of a record. Gives the lines of a check, the reason that a check shares with an
earlier one, and what several problems fail by as a whole, such as a file that cannot be imported.
Everything here may be shown to the student; values are kept of public cases only.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from grader.assignment.public_cases import CaseName
from grader.evidence.faults import IMPORT_FAILED, LAUNCHER_MISSING, NAME_MISSING, NOT_IMPLEMENTED
from grader.judge.judgement import OUR_CAUSES, CaseFinding, Cause, CheckJudgement, Verdict
from grader.report.hostile_text import make_legible
from grader.report.messages import CAUSE_EXPLAINED, UNGRADED_TEXT

MOST_NAMED = 8
"""Cases that a line names by their numbers; more are only counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicFinding:
    """A public case that did not pass, in full; over ranks also the stack of each rank.

    Attributes:
        label: the case, with all others that did not pass in the same way, hidden ones too.
        name: of the first of them, as `grader check --show` takes it.
        where: index of the worst entry, or location in the source unless `summary` names it.
        code: its calls as Python; empty if there is nothing to call, or the cases are not here.
    """

    label: str
    name: CaseName
    summary: str
    expected: str
    got: str
    where: str
    stacks: str
    code: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HiddenFinding:
    """Hidden cases that did not pass in one way: their numbers and that way, no values."""

    label: str
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommonReason:
    """Why nothing of several problems passed, told once at the top of a report.

    Attributes:
        detail: of public cases, such as the text of an exception; may be empty.
        problems: names of these problems.
    """

    cause: Cause
    summary: str
    detail: str
    problems: tuple[str, ...]

    @property
    def is_ours(self) -> bool:
        """Whether it is a failure of ours: the problems are not graded, which is no zero."""
        return self.cause in OUR_CAUSES


def view_findings(check: CheckJudgement) -> tuple[PublicFinding | HiddenFinding, ...]:
    """Return what did not pass in a check: one entry for each way in which cases failed."""
    ways: dict[str, list[CaseFinding]] = {}
    for case in check.findings:
        ways.setdefault(case.summary, []).append(case)
    entries: list[PublicFinding | HiddenFinding] = []
    for cases in ways.values():
        hidden = [case for case in cases if not case.public]
        shown: dict[tuple[str, ...], list[CaseFinding]] = {}
        for case in (case for case in cases if case.public):
            shown.setdefault((case.expected, case.got, case.where, case.stacks), []).append(case)
        for alike in shown.values():
            entries.append(_public(check, alike[0], _label(check, (*alike, *hidden))))
            hidden = []  # told with the first public case that failed in this way
        if hidden:
            summary = make_legible(hidden[0].summary)
            entries.append(HiddenFinding(label=_label(check, hidden), summary=summary))
    return tuple(entries)


def _public(check: CheckJudgement, case: CaseFinding, label: str) -> PublicFinding:
    where = make_legible(case.where)
    summary = make_legible(case.summary)
    return PublicFinding(
        label=label,
        name=CaseName(problem=check.problem, check=check.check, index=case.index),
        summary=summary,
        expected=make_legible(case.expected),
        got=make_legible(case.got),
        where="" if f"({where})" in summary else where,
        stacks=make_legible(case.stacks),
    )


def _label(check: CheckJudgement, cases: Sequence[CaseFinding]) -> str:
    if len(cases) == check.cases > 1:
        return f"All {check.cases} cases"
    parts = [
        _numbered(kind, [case.index for case in cases if case.public is public])
        for kind, public in (("public", True), ("hidden", False))
    ]
    text = ", ".join(filter(None, parts))
    return text[:1].upper() + text[1:]


def _numbered(kind: str, numbers: Sequence[int]) -> str:
    if len(numbers) > MOST_NAMED:
        return f"{len(numbers)} {kind} cases"
    *most, last = [str(number) for number in numbers] or [""]
    names = f"{', '.join(most)} and {last}" if most else last
    return f"{kind} {'case' if len(numbers) == 1 else 'cases'} {names}" if numbers else ""


def reason_of(check: CheckJudgement) -> tuple[str, str]:
    """Return the one reason, with its detail, that all cases of a check failed for; else nothing.

    A check that we could not grade has its cause as the reason.
    """
    if check.verdict is Verdict.UNGRADED:
        return f"{UNGRADED_TEXT} {CAUSE_EXPLAINED[check.cause]}", ""
    summaries = {case.summary for case in check.findings}
    details = {case.got for case in check.findings if case.public}
    if len(check.findings) < check.cases or len(summaries) != 1 or len(details) > 1:
        return "", ""
    return make_legible(*summaries), make_legible("".join(details))


def find_repeats(checks: Iterable[CheckJudgement]) -> dict[tuple[str, str], str]:
    """Return, by problem and check, the title of an earlier check of the problem that tells it."""
    told: dict[tuple[str, str, str], str] = {}
    repeats: dict[tuple[str, str], str] = {}
    for check in checks:
        summary, detail = reason_of(check) if check.cases else ("", "")
        key = check.problem, summary, detail
        if summary and key in told:
            repeats[check.problem, check.check] = told[key]
        elif summary:
            told[key] = make_legible(check.title)
    return repeats


def common_reasons(checks: Iterable[CheckJudgement]) -> tuple[CommonReason, ...]:
    """Return what keeps all checks of several problems from passing, or the import of the file."""
    found: dict[tuple[Cause, str, str], list[str]] = {}
    for name, mine in _by_problem(checks).items():
        reasons = {(check.cause, *reason_of(check)) for check in mine}
        cause, summary, detail = reasons.pop()
        if summary and not reasons and not _is_not_begun(summary):
            found.setdefault((cause, summary, detail), []).append(name)
    return tuple(
        CommonReason(cause=cause, summary=summary, detail=detail, problems=tuple(names))
        for (cause, summary, detail), names in found.items()
        if len(names) > 1 or summary.startswith(IMPORT_FAILED)
    )


def not_begun(checks: Iterable[CheckJudgement]) -> dict[str, str]:
    """Return a line for each problem of which nothing is written yet, by its name."""
    lines: dict[str, str] = {}
    for name, mine in _by_problem(checks).items():
        findings = [case for check in mine for case in check.findings]
        all_missing = all(check.cause is Cause.MISSING and check.findings for check in mine)
        if all_missing and all(_is_not_begun(case.summary) for case in findings):
            names = {case.got for case in findings if case.summary == NAME_MISSING and case.public}
            summary = ": ".join([findings[0].summary, *sorted(names)[:1]])
            lines[name] = f"Not begun: {make_legible(summary)}."
    return lines


def _is_not_begun(summary: str) -> bool:
    return summary.startswith((NOT_IMPLEMENTED, NAME_MISSING, LAUNCHER_MISSING))


def _by_problem(checks: Iterable[CheckJudgement]) -> dict[str, list[CheckJudgement]]:
    """Return the checks, without targets, by problem."""
    problems: dict[str, list[CheckJudgement]] = {}
    for check in checks:
        if check.cases:
            problems.setdefault(check.problem, []).append(check)
    return problems
