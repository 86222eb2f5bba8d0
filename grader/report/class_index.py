"""`index.html`: the whole class on one page, for the course staff; students must not see it."""

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from grader.judge.judgement import Cause, Judgement, Status, TargetFinding, Verdict
from grader.judge.targets import describe
from grader.record.grade_record import GradeRecord
from grader.report.grades import ProblemTally, find_outdated, problem_titles, tally_problems
from grader.report.hostile_text import make_legible
from grader.report.messages import kind_text
from grader.report.pages import render_page
from grader.report.student_view import UNCONFINED

BINS = 10
FREQUENT_CAUSES = 6
HARDEST_CHECKS = 8
BOUNDS_SHOWN = 3
_TALLEST_BIN = 120.0  # in units of the chart, which is 170 high


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreBin:
    """One bar of the score distribution: 100 / `BINS` wide, its height in units of the chart."""

    start_percent: int
    count: int
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexRow:
    """One submission.

    Attributes:
        cells: one entry per problem column, None where it was not asked.
        reason: why it was rejected, on one line; empty for all others.
        outdated: whether it was graded under another plan than the newest record.
    """

    name: str
    judgement: Judgement
    cells: tuple[ProblemTally | None, ...]
    report_link: str
    record_link: str
    reason: str
    outdated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewRow:
    """Points of one submission that await review, with the numbers that a reviewer needs.

    Attributes:
        problem: title of the problem.
        title: of the check or target.
        evidence: which plausibility bounds were broken, then the metrics as they were measured.
    """

    name: str
    report_link: str
    problem: str
    title: str
    points: float
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRow:
    """One check, what failing it costs of the performance points, and how many failed it."""

    problem: str
    title: str
    kind: str
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassIndex:
    """What the page shows.

    Attributes:
        title: title of the assignment.
        problem_titles: one per problem column.
        counts: submissions by status.
        causes: the most frequent causes with the number of submissions that have them.
        checks: those that most submissions fail.
        left_out_points: of targets that are left out, because they need a device.
        bins: distribution of the scores.
        scored_count: submissions that `bins`, `median` and `mean` (in points) are over.
        unconfined_count: submissions that ran without a sandbox.
        aside_count: submissions with records that are no longer in the class.
    """

    title: str
    max_score: float
    problem_titles: tuple[str, ...]
    rows: tuple[IndexRow, ...]
    counts: tuple[tuple[Status, int], ...]
    causes: tuple[tuple[Cause, int], ...]
    checks: tuple[CheckRow, ...]
    left_out_points: float
    bins: tuple[ScoreBin, ...]
    scored_count: int
    median: float
    mean: float
    review: tuple[ReviewRow, ...]
    unconfined_count: int
    aside_count: int


def render_class_index(records: Sequence[GradeRecord], *, aside_count: int = 0) -> str:
    """Return `index.html`, with links to the pages that `write_reports` puts beside it."""
    index = make_index(records, aside_count=aside_count)
    return render_page("class_index.html.j2", script="class_index.js", index=index)


def make_index(records: Sequence[GradeRecord], *, aside_count: int = 0) -> ClassIndex:
    """Count and sort a class; rows are in the order of their names."""
    problems = problem_titles(records)
    by_name = sorted(records, key=lambda r: r.submission.name)
    counts = Counter(record.judgement.status for record in records)
    outdated = find_outdated(records)
    scored = [r for r in records if r.judgement.status.has_score and r.record_id not in outdated]
    scores = [record.judgement.score for record in scored]
    return ClassIndex(
        title=make_legible(records[0].plan.title) if records else "No submissions",
        max_score=max(
            (r.judgement.max_score for r in records if r.record_id not in outdated), default=0.0
        ),
        problem_titles=tuple(make_legible(title) for title in problems.values()),
        rows=tuple(
            _row(record, tuple(problems), outdated=record.record_id in outdated)
            for record in by_name
        ),
        counts=tuple((status, counts[status]) for status in Status),
        causes=_count_causes(records),
        checks=_count_checks(records),
        left_out_points=max((record.plan.left_out_points for record in records), default=0.0),
        bins=_make_bins([record.judgement for record in scored]),
        scored_count=len(scores),
        median=statistics.median(scores) if scores else 0.0,
        mean=statistics.fmean(scores) if scores else 0.0,
        review=tuple(review for record in by_name for review in _review_rows(record, problems)),
        unconfined_count=sum(r.measurement.sandbox == UNCONFINED for r in records),
        aside_count=aside_count,
    )


def _row(record: GradeRecord, problems: tuple[str, ...], *, outdated: bool) -> IndexRow:
    tallies = tally_problems(record.plan, record.judgement)
    folder = quote(record.submission.name, safe="")
    return IndexRow(
        name=make_legible(record.submission.name),
        judgement=record.judgement,
        cells=tuple(tallies.get(name) for name in problems),
        report_link=_report_link(record),
        record_link=f"staff/{folder}/record.json",
        reason=" ".join(make_legible(record.judgement.message).split()),
        outdated=outdated,
    )


def _report_link(record: GradeRecord) -> str:
    return f"students/{quote(record.submission.name, safe='')}/report.html"


def _review_rows(record: GradeRecord, problems: Mapping[str, str]) -> tuple[ReviewRow, ...]:
    return tuple(
        ReviewRow(
            name=make_legible(record.submission.name),
            report_link=_report_link(record),
            problem=make_legible(problems.get(check.problem, check.problem)),
            title=make_legible(check.title),
            points=check.max_points,
            evidence=tuple(
                make_legible(line) for finding in check.finding for line in _evidence(finding)
            ),
        )
        for check in record.judgement.checks
        if check.verdict is Verdict.NEEDS_REVIEW
    )


def _evidence(finding: TargetFinding) -> Iterator[str]:
    """Yield the broken bounds, only the first few of possibly thousands, and then the metrics."""
    yield from finding.broken[:BOUNDS_SHOWN]
    if len(finding.broken) > BOUNDS_SHOWN:
        yield f"{len(finding.broken) - BOUNDS_SHOWN} more like these are in the record"
    yield from (describe(metric) for metric in finding.metrics)


def _count_causes(records: Sequence[GradeRecord]) -> tuple[tuple[Cause, int], ...]:
    """Count each cause once per submission, the most frequent first."""
    counts = Counter(
        cause
        for record in records
        if record.judgement.status is not Status.REJECTED
        for cause in {check.cause for check in record.judgement.checks} - {Cause.NONE}
    )
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0].value))
    return tuple(ranked[:FREQUENT_CAUSES])


def _count_checks(records: Sequence[GradeRecord]) -> tuple[CheckRow, ...]:
    """Count the submissions that fail each check, the most frequent first."""
    failed = Counter(
        (check.problem, check.check)
        for record in records
        if record.judgement.status is not Status.REJECTED
        for check in record.judgement.checks
        if check.verdict is Verdict.FAIL
    )
    planned = {
        (problem.name, check.name): CheckRow(
            problem=make_legible(problem.label),
            title=make_legible(check.title),
            kind=kind_text(check) if problem.targets else "",
            failed=failed[problem.name, check.name],
        )
        for record in records
        for problem in record.plan.problems
        for check in problem.checks
    }
    hardest = sorted(planned.values(), key=lambda row: -row.failed)[:HARDEST_CHECKS]
    return tuple(row for row in hardest if row.failed)


def _make_bins(judgements: Sequence[Judgement]) -> tuple[ScoreBin, ...]:
    counts = [0] * BINS
    for judgement in judgements:
        if judgement.max_score > 0:
            share = judgement.score / judgement.max_score
            counts[min(BINS - 1, max(0, int(share * BINS)))] += 1
    most = max(counts)
    return tuple(
        ScoreBin(
            start_percent=number * 100 // BINS,
            count=count,
            height=round(_TALLEST_BIN * count / most, 1) if most else 0.0,
        )
        for number, count in enumerate(counts)
    )
