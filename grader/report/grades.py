"""The points of each problem, and `grades.csv` with one line per submission for a spreadsheet."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from grader.assignment.plan import Plan, PlannedProblem
from grader.judge.judgement import Cause, Judgement, Status, Verdict
from grader.record.grade_record import GradeRecord
from grader.report.hostile_text import make_legible, neutralise_formula
from grader.report.messages import number_text

COLUMNS = ("submission", "status", "score", "max_score", "ungraded_points", "review_points")
OUTDATED = "outdated"
"""In the column `status`: graded under another plan than the rest, so to be graded again."""
_WORST_FIRST = (Verdict.UNGRADED, Verdict.NEEDS_REVIEW, Verdict.FAIL, Verdict.PASS)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemTally:
    """Points and causes of one problem.

    Attributes:
        title: its name, as in the columns of `grades.csv`, and its title.
        points: sum of the points earned.
        max_points: sum of the published weights.
        verdict: the first of UNGRADED, NEEDS_REVIEW, FAIL, PASS that one of its checks has.
        causes: why checks did not pass, each once, in the checks' order; none if rejected.
        review_points: weight of the checks that await review; not part of `points`.
        open_points: weight of the checks that we could not grade; not part of `points`.
        settled: whether `points` is a grade; otherwise pages show a dash, not a 0.
    """

    name: str
    title: str
    points: float
    max_points: float
    verdict: Verdict
    causes: tuple[Cause, ...]
    review_points: float
    open_points: float
    settled: bool

    @property
    def between_tiers(self) -> bool:
        """Whether everything passed, but a performance target earned only part of its points."""
        return self.verdict is Verdict.PASS and round(self.max_points - self.points, 2) > 0

    @property
    def partly_passed(self) -> bool:
        """Whether everything was judged, and some but not all points were earned."""
        return self.verdict is Verdict.FAIL and self.points > 0


def tally_problems(plan: Plan, judgement: Judgement) -> dict[str, ProblemTally]:
    """Return the tally of every planned problem by its name, in the plan's order."""
    return {problem.name: _tally(problem, judgement) for problem in plan.problems}


def _tally(problem: PlannedProblem, judgement: Judgement) -> ProblemTally:
    checks = [check for check in judgement.checks if check.problem == problem.name]
    verdicts = {check.verdict for check in checks}
    worst = next((verdict for verdict in _WORST_FIRST if verdict in verdicts), Verdict.UNGRADED)
    causes = dict.fromkeys(check.cause for check in checks if check.cause is not Cause.NONE)
    rejected = judgement.status is Status.REJECTED
    points = sum(check.points for check in checks)
    open_checks = [c for c in checks if c.verdict in (Verdict.UNGRADED, Verdict.NEEDS_REVIEW)]
    judged = bool(checks) and not open_checks
    return ProblemTally(
        name=problem.name,
        title=make_legible(problem.label),
        points=points,
        max_points=problem.points,
        verdict=Verdict.UNGRADED if rejected else worst,
        causes=() if rejected else tuple(causes),
        review_points=sum(c.max_points for c in checks if c.verdict is Verdict.NEEDS_REVIEW),
        open_points=sum(c.max_points for c in checks if c.verdict is Verdict.UNGRADED),
        # Earned points are shown at once; a zero only when no check is open any more.
        settled=not rejected and (judged or points > 0),
    )


def render_grades(records: Sequence[GradeRecord]) -> str:
    """Return the grades as CSV: `COLUMNS`, then the points of each problem.

    A problem without a grade has an empty cell, not a 0. The same holds for the score of a
    submission that is ungraded or rejected, and for all of one that is `OUTDATED`.
    """
    problems = problem_titles(records)
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow([*COLUMNS, *(neutralise_formula(name) for name in problems)])
    outdated = find_outdated(records)
    for record in records:
        writer.writerow(_row(record, problems, outdated=record.record_id in outdated))
    return table.getvalue()


def find_outdated(records: Sequence[GradeRecord]) -> frozenset[str]:
    """Return the ids of records under another plan than the newest: their points do not compare."""
    newest = max(records, key=lambda record: record.created_at, default=None)
    if newest is None:
        return frozenset()
    plan_sha256 = newest.plan.sha256
    return frozenset(one.record_id for one in records if one.plan.sha256 != plan_sha256)


def problem_titles(records: Iterable[GradeRecord]) -> dict[str, str]:
    """Return name and title of every problem by name, in the order in which plans list them."""
    return {problem.name: problem.label for record in records for problem in record.plan.problems}


def _row(record: GradeRecord, problems: Iterable[str], *, outdated: bool) -> list[str]:
    judgement = record.judgement
    tallies = {} if outdated else tally_problems(record.plan, judgement)
    scored = judgement.status.has_score and not outdated
    points = (
        _number(tallies[name].points) if name in tallies and tallies[name].settled else ""
        for name in problems
    )
    return [
        neutralise_formula(record.submission.name),
        OUTDATED if outdated else judgement.status.value,
        _number(judgement.score) if scored else "",
        _number(judgement.max_score),
        _number(judgement.ungraded_points),
        _number(judgement.review_points),
        *points,
    ]


def _number(points: float) -> str:
    return number_text(points, decimals=4)
