"""What a student may know about a grade: the only thing that student pages are made from.

Takes: a `GradeRecord`. Gives: `StudentView`, legible text throughout. Does not cover: layout.

A field of a record is secret unless this module, or one that it calls, copies it (see `check_view`,
`pace_view`, `advice_view`).
"""

import re
from dataclasses import dataclass

from grader.intake.submission import Origin
from grader.judge.judgement import Status
from grader.record.grade_record import GradeRecord, SubmissionFacts
from grader.report.advice_view import AdviceView, view_advice
from grader.report.check_view import CheckView, view_check
from grader.report.hostile_text import make_legible
from grader.report.tally import ProblemTally, tally_problems
from grader.report.words import denied_words

UNCONFINED = "none"
OUTPUT_SHOWN_CHARS = 16_000
HASH_SHOWN_CHARS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemView:
    """One problem as its student sees it.

    Attributes:
        tally: its points.
        exports: names that the submission had to define.
        denied: which operations raised, in words; empty if none did.
        checks: in the plan's order.
        output: what the submission printed, cut to `OUTPUT_SHOWN_CHARS`.
        output_dropped_chars: how much was cut.
        cells: for a notebook, numbers of the cells that define an exported name, ascending.
    """

    tally: ProblemTally
    exports: tuple[str, ...]
    denied: str
    checks: tuple[CheckView, ...]
    output: str
    output_dropped_chars: int
    cells: tuple[int, ...]

    @property
    def measured(self) -> bool:
        """Whether a performance target of it has figures."""
        return any(check.charts for check in self.checks)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentView:
    """One grade as its student sees it.

    Attributes:
        name: identifier of the submission.
        title: title of the assignment.
        assignment: slug.
        file_sha256: start of the hash of what was handed in.
        origin: module or notebook.
        graded_at: day and minute in UTC.
        device: `cpu`, or the name of the GPU.
        grader_version: version of this project.
        status: state of the whole submission.
        message: for a rejected submission, what was wrong and what to do.
        score: points earned.
        max_score: points there are.
        ungraded_points: points that we failed to judge.
        held_points: points that wait for a person.
        notices: what intake had to say.
        problems: in the plan's order; none for a rejected submission.
        sandbox: name of the outer wall.
        isolation: `warm` or `strict`.
        layers: what stood between the submission and the judge.
        notebook_json: the student's own notebook, as it came; empty for a module.
        advice: on kernels; never graded.
    """

    name: str
    title: str
    assignment: str
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
    held_points: float
    notices: tuple[str, ...]
    problems: tuple[ProblemView, ...]
    sandbox: str
    isolation: str
    layers: tuple[str, ...]
    notebook_json: str
    advice: AdviceView

    @property
    def unconfined(self) -> bool:
        """Whether the submission ran without a wall."""
        return self.sandbox == UNCONFINED

    @property
    def lost_points(self) -> float:
        """Points that were judged and not earned."""
        return max(0.0, self.max_score - self.score - self.ungraded_points - self.held_points)


def make_view(record: GradeRecord) -> StudentView:
    """Copy from `record` what its student may know."""
    submission, judgement, measurement = record.submission, record.judgement, record.measurement
    return StudentView(
        name=make_legible(submission.name),
        title=make_legible(record.plan.title),
        assignment=make_legible(record.plan.assignment),
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
        held_points=judgement.held_points,
        notices=tuple(make_legible(notice) for notice in submission.notices),
        # Nothing of a rejected submission ran: a list of missing problems would only hide why.
        problems=() if judgement.status is Status.REJECTED else _view_problems(record),
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
    for planned, tally in zip(record.plan.problems, tallies, strict=True):
        output = make_legible(outputs.get(planned.name, "")).rstrip("\n")
        checks = [c for c in record.judgement.checks if c.problem == planned.name]
        views.append(
            ProblemView(
                tally=tally,
                exports=tuple(make_legible(name) for name in planned.exports),
                denied=make_legible(denied_words(planned.denied)),
                checks=tuple(view_check(record, planned, check) for check in checks),
                output=output[:OUTPUT_SHOWN_CHARS],
                output_dropped_chars=max(0, len(output) - OUTPUT_SHOWN_CHARS),
                cells=_defining_cells(record.submission, planned.exports),
            )
        )
    return tuple(views)


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
    for line, place in zip(entry.text.split("\n"), entry.cell_lines, strict=False):
        if found := definition.match(line):
            cells[found[1] or found[2]] = place.cell
    return tuple(sorted(set(cells.values())))
