"""What a student may know about a grade: the only thing that student pages are made from.

A field of a record is secret unless this module, or one that it calls, copies it (see `target_view`
and `advice_view`). All text in a `StudentView` is legible; layout is left to the templates.
"""

import re
from dataclasses import dataclass, replace

from grader.assignment.plan import PlannedProblem
from grader.assignment.public_cases import code_of_graded_case
from grader.assignment.table import Evidence
from grader.intake.submission import Origin
from grader.judge.judgement import Cause, CheckJudgement, Status, Verdict
from grader.record.grade_record import GradeRecord, SubmissionFacts
from grader.report.advice_view import AdviceView, view_advice
from grader.report.finding_view import (
    CommonReason,
    HiddenFinding,
    PublicFinding,
    common_reasons,
    find_repeats,
    not_begun,
    view_findings,
)
from grader.report.grades import ProblemTally, tally_problems
from grader.report.hostile_text import make_legible
from grader.report.messages import (
    CAUSE_EXPLAINED,
    COMMON_TEXT,
    UNGRADED_TEXT,
    denied_text,
    kind_text,
)
from grader.report.target_chart import TargetChart, draw_target
from grader.report.target_view import TargetView, view_target

UNCONFINED = "none"
"""The sandbox of a submission that ran without one."""
OUTPUT_SHOWN_CHARS = 16_000
HASH_SHOWN_CHARS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckView:
    """One check as its student sees it.

    Attributes:
        description: what the case does, a line per paragraph; may be empty.
        points: points earned; meaningless unless PASS or FAIL.
        cases: instances that were planned.
        public: ways of failing that a public instance shows.
        hidden: ways of failing that only hidden instances show.
        kind: what failing it costs of the performance points; empty for a problem without targets.
        target: what was measured, for a performance target; none for a check.
        charts: of a target that was measured; else none.
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
    charts: tuple[TargetChart, ...]
    kind: str

    @property
    def in_part(self) -> bool:
        """Whether it passed with only part of its points: its value lies between the tiers."""
        return self.verdict is Verdict.PASS and self.points < self.max_points

    @property
    def blocked(self) -> bool:
        """Whether it was not measured because a check of the problem failed."""
        return any(target.blocked for target in self.target)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemView:
    """One problem as its student sees it.

    Attributes:
        exports: names that the submission had to define.
        denied: a sentence on the operations that raise an error; empty if there are none.
        output: what the submission printed, cut to `OUTPUT_SHOWN_CHARS`.
        output_dropped_chars: how much was cut.
        cells: for a notebook, numbers of the cells that define an exported name, ascending.
        brief: one line in place of the checks, if they all say the same; else empty.
    """

    tally: ProblemTally
    exports: tuple[str, ...]
    denied: str
    checks: tuple[CheckView, ...]
    output: str
    output_dropped_chars: int
    cells: tuple[int, ...]
    brief: str

    @property
    def measured(self) -> bool:
        """Whether a performance target of this problem was measured."""
        return any(check.charts for check in self.checks)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentView:
    """One grade as its student sees it.

    Attributes:
        title: title of the assignment.
        file_sha256: start of the hash of what was handed in.
        graded_at: day and minute in UTC.
        device: `cpu`, or the name of the GPU.
        message: for a rejected submission, what was wrong and what to do.
        ungraded_points: points that we could not grade.
        review_points: points that await review.
        left_out_points: points of targets that are left out for everybody.
        common: what several problems failed by as a whole.
        notices: what was noticed when the file was read.
        problems: in the plan's order; none for a rejected submission.
        layers: of the sandbox, outermost first.
        notebook_json: the student's own notebook, as it came; empty for a module.
        advice: on kernels; never graded.
    """

    name: str
    title: str
    file_sha256: str
    origin: Origin
    graded_at: str
    device: str
    grader_version: str
    status: Status
    message: str
    score: float
    max_score: float
    ungraded_points: float
    review_points: float
    left_out_points: float
    common: tuple[CommonReason, ...]
    notices: tuple[str, ...]
    problems: tuple[ProblemView, ...]
    sandbox: str
    isolation: str
    layers: tuple[str, ...]
    notebook_json: str
    advice: AdviceView

    @property
    def unconfined(self) -> bool:
        """Whether the submission ran without a sandbox."""
        return self.sandbox == UNCONFINED

    @property
    def causes(self) -> tuple[Cause, ...]:
        """Why checks did not pass, each cause once; without targets that were not measured."""
        checks = [check for problem in self.problems for check in problem.checks]
        found = dict.fromkeys(check.cause for check in checks if not check.blocked)
        return tuple(cause for cause in found if cause is not Cause.NONE)

    @property
    def lost_points(self) -> float:
        """Points that were graded and not earned."""
        return max(0.0, self.max_score - self.score - self.ungraded_points - self.review_points)


def make_view(record: GradeRecord) -> StudentView:
    """Copy from `record` what its student may know."""
    submission, judgement, measurement = record.submission, record.judgement, record.measurement
    # Nothing of a rejected submission ran; a list of problems would hide the reason.
    problems = () if judgement.status is Status.REJECTED else _view_problems(record)
    return StudentView(
        name=make_legible(submission.name),
        title=make_legible(record.plan.title),
        file_sha256=make_legible(submission.sha256[:HASH_SHOWN_CHARS]),
        origin=submission.origin,
        graded_at=_minute(make_legible(record.created_at)),
        device=make_legible(record.environment.device),
        grader_version=make_legible(record.environment.grader_version),
        status=judgement.status,
        message=make_legible(judgement.message),
        score=judgement.score,
        max_score=judgement.max_score,
        ungraded_points=judgement.ungraded_points,
        review_points=judgement.review_points,
        left_out_points=record.plan.left_out_points,
        common=common_reasons(judgement.checks) if problems else (),
        notices=tuple(make_legible(notice) for notice in submission.notices),
        problems=problems,
        sandbox=make_legible(measurement.sandbox),
        isolation=make_legible(measurement.isolation),
        layers=tuple(make_legible(layer) for layer in measurement.layers),
        notebook_json=submission.notebook_json if submission.origin is Origin.NOTEBOOK else "",
        advice=view_advice(record.advice),
    )


def _view_problems(record: GradeRecord) -> tuple[ProblemView, ...]:
    tallies = tally_problems(record.plan, record.judgement)
    outputs = {problem.problem: problem.output for problem in record.measurement.problems}
    views: list[ProblemView] = []
    all_checks = record.judgement.checks
    repeats, briefs = find_repeats(all_checks), not_begun(all_checks)
    for reason in common_reasons(all_checks):
        briefs |= dict.fromkeys(reason.problems, COMMON_TEXT)
    for planned in record.plan.problems:
        output = make_legible(outputs.pop(planned.name, "")).rstrip("\n")
        if any(output == earlier.output for earlier in views):
            output = ""  # of the import, which every problem repeats
        checks = [c for c in all_checks if c.problem == planned.name]
        views.append(
            ProblemView(
                tally=tallies[planned.name],
                exports=tuple(make_legible(name) for name in planned.exports),
                denied=make_legible(denied_text(planned.denied)),
                checks=tuple(
                    _view_check(
                        record,
                        planned,
                        check,
                        repeats=repeats.get((check.problem, check.check), ""),
                    )
                    for check in checks
                ),
                output=output[:OUTPUT_SHOWN_CHARS],
                output_dropped_chars=max(0, len(output) - OUTPUT_SHOWN_CHARS),
                cells=_defining_cells(record.submission, planned.exports),
                brief=briefs.get(planned.name, ""),
            )
        )
    return tuple(views)


def _view_check(
    record: GradeRecord, problem: PlannedProblem, check: CheckJudgement, *, repeats: str
) -> CheckView:
    """Copy from `record` what a student may know of one check or target.

    `repeats` is the title of the check that tells why this one did not pass; empty if none does.
    """
    described = {item.name: item.description for item in problem.criteria}
    kinds = {one.name: kind_text(one) for one in problem.checks if problem.targets}
    hidden_away = repeats or check.verdict is Verdict.UNGRADED
    findings = () if hidden_away else view_findings(check)
    target = _view_target(record, problem, check)
    return CheckView(
        title=make_legible(check.title),
        description=_unwrap(make_legible(described.get(check.check, ""))),
        verdict=check.verdict,
        cause=check.cause,
        points=check.points,
        max_points=check.max_points,
        evidence=check.evidence,
        summary=make_legible(_summary(check, target, repeats)).strip(),
        cases=check.cases,
        public=tuple(
            _with_code(record, check, one) for one in findings if isinstance(one, PublicFinding)
        ),
        hidden=tuple(one for one in findings if isinstance(one, HiddenFinding)),
        target=target,
        charts=tuple(draw_target(finding) for view in target for finding in view.finding),
        kind=kinds.get(check.check, ""),
    )


def _view_target(
    record: GradeRecord, problem: PlannedProblem, check: CheckJudgement
) -> tuple[TargetView, ...]:
    measured = [
        one
        for one in record.measurement.targets
        if (one.problem, one.target) == (check.problem, check.check)
    ]
    return tuple(
        view_target(target, check, measured, record.environment.device)
        for target in problem.targets
        if target.name == check.check
    )


def _summary(check: CheckJudgement, target: tuple[TargetView, ...], repeats: str) -> str:
    if check.verdict is Verdict.NEEDS_REVIEW and target:
        return ""
    if repeats:
        return f"The same as in “{repeats}” above."
    if check.verdict is Verdict.FAIL and check.findings:
        return f"{len(check.findings)} of {check.cases} cases failed."
    if check.verdict is not Verdict.UNGRADED:
        return check.summary
    target_text = " ".join(view.open_text for view in target)
    return target_text or f"{UNGRADED_TEXT} {CAUSE_EXPLAINED[check.cause]}"


def _with_code(record: GradeRecord, check: CheckJudgement, finding: PublicFinding) -> PublicFinding:
    """Return a finding with its calls as Python, where there is something to call."""
    plan, origin = record.plan, record.submission.origin
    if check.cause is Cause.MISSING or origin is Origin.CUDA:
        return finding
    module = plan.assignment if origin is Origin.MODULE else ""
    code = code_of_graded_case(plan.assignment, plan.assignment_sha256, finding.name, module=module)
    return replace(finding, code=make_legible(code))


def _unwrap(docstring: str) -> str:
    """Return one line per paragraph; line breaks in a docstring are the editor's."""
    paragraphs = re.split(r"\n[ \t]*\n", docstring.strip())
    return "\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _minute(created_at: str) -> str:
    """Return an ISO 8601 time in UTC as people write it; anything else as it is."""
    parts = re.match(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)", created_at)
    return f"{parts[1]} {parts[2]} UTC" if parts else created_at


def _defining_cells(submission: SubmissionFacts, names: tuple[str, ...]) -> tuple[int, ...]:
    """Return the cells that define `names`; a later definition replaces an earlier one.

    The source is searched, never parsed: a hostile module can exhaust Python's own parser.
    """
    if not submission.files or not names:
        return ()
    entry = submission.files[0]
    wanted = "|".join(re.escape(name) for name in names)
    definition = re.compile(
        rf"(?:class|def|async def)[ \t]+({wanted})\b|({wanted})[ \t]*(?::|=(?!=))"
    )
    cells: dict[str, int] = {}
    for line, location in zip(entry.text.split("\n"), entry.cell_lines, strict=False):
        if found := definition.match(line):
            cells[found[1] or found[2]] = location.cell
    return tuple(sorted(set(cells.values())))
