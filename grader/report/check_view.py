"""One check or target as its student sees it.

Takes: a judgement of a record. Gives: `CheckView`, legible text throughout. Does not cover: the
whole grade (see `view`), layout.

Hidden cases keep their number and the judge's sentence about the size of the error; a check that we
failed to grade keeps only its cause, because the judge's sentence about it speaks of our files. Of
held points nothing is told before a person has looked at them.
"""

import re
from dataclasses import dataclass

from grader.judge.judgement import CaseFinding, Cause, CheckJudgement, Verdict
from grader.plan.assignment import Evidence
from grader.plan.plan import PlannedProblem
from grader.record.grade_record import GradeRecord
from grader.report.hostile_text import make_legible
from grader.report.pace_chart import PaceChart, draw_pace
from grader.report.pace_view import TargetView, view_target
from grader.report.words import CAUSE_EXPLAINED, UNGRADED_WORDS


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicFinding:
    """A public case that did not pass, in full; of a group also where each rank stood."""

    index: int
    summary: str
    expected: str
    got: str
    where: str
    stacks: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HiddenFinding:
    """A hidden case that did not pass: its number and the size of the error."""

    index: int
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckView:
    """One check as its student sees it.

    Attributes:
        title: what is checked.
        description: what the case does, a line per paragraph; may be empty.
        verdict: what became of it.
        cause: why it did not pass.
        points: points earned; meaningless unless PASS or FAIL.
        max_points: published weight.
        evidence: what the verdict stands on.
        summary: one sentence.
        cases: instances that were planned.
        public: public instances that did not pass.
        hidden: hidden instances that did not pass.
        target: of a performance target, what was measured; none for a check.
        charts: pictures of a target that was measured; else none.
    """

    title: str
    description: str
    verdict: Verdict
    cause: Cause
    points: float
    max_points: float
    evidence: Evidence
    summary: str
    cases: int
    public: tuple[PublicFinding, ...]
    hidden: tuple[HiddenFinding, ...]
    target: tuple[TargetView, ...]
    charts: tuple[PaceChart, ...]

    @property
    def in_part(self) -> bool:
        """Whether it passed and did not earn all points: between the tiers."""
        return self.verdict is Verdict.PASS and self.points < self.max_points

    @property
    def blocked(self) -> bool:
        """Whether it was not measured because a check of the problem failed."""
        return any(target.blocked for target in self.target)


def view_check(record: GradeRecord, problem: PlannedProblem, check: CheckJudgement) -> CheckView:
    """Copy from `record` what a student may know of one of its checks or targets."""
    described = {item.name: item.description for item in problem.criteria}
    findings = () if check.verdict is Verdict.UNGRADED else check.findings
    target = _view_target(record, problem, check)
    return CheckView(
        title=make_legible(check.title),
        description=_unwrap(make_legible(described.get(check.check, ""))),
        verdict=check.verdict,
        cause=check.cause,
        points=check.points,
        max_points=check.max_points,
        evidence=check.evidence,
        summary=make_legible(_summarise(check, target)).strip(),
        cases=check.cases,
        public=tuple(_view_public(finding) for finding in findings if finding.public),
        hidden=tuple(
            HiddenFinding(index=finding.index, summary=make_legible(finding.summary))
            for finding in findings
            if not finding.public
        ),
        target=target,
        charts=tuple(draw_pace(pace) for view in target for pace in view.pace),
    )


def _view_target(
    record: GradeRecord, problem: PlannedProblem, check: CheckJudgement
) -> tuple[TargetView, ...]:
    measured = [
        one
        for one in record.measurement.targets
        if (one.problem, one.target) == (check.problem, check.check)
    ]
    device = record.environment.device
    return tuple(
        view_target(target, check, measured, device)
        for target in problem.targets
        if target.name == check.check
    )


def _summarise(check: CheckJudgement, target: tuple[TargetView, ...]) -> str:
    if check.verdict is Verdict.HELD and target:
        return ""
    if check.verdict is not Verdict.UNGRADED:
        return check.summary
    special = " ".join(view.open_words for view in target)
    return special or f"{UNGRADED_WORDS} {CAUSE_EXPLAINED[check.cause]}"


def _view_public(finding: CaseFinding) -> PublicFinding:
    return PublicFinding(
        index=finding.index,
        summary=make_legible(finding.summary),
        expected=make_legible(finding.expected),
        got=make_legible(finding.got),
        where=make_legible(finding.where),
        stacks=make_legible(finding.stacks),
    )


def _unwrap(docstring: str) -> str:
    """Return one line per paragraph; line breaks in a docstring are the editor's."""
    paragraphs = re.split(r"\n[ \t]*\n", docstring.strip())
    return "\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
