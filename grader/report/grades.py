"""`grades.csv`: one line per submission, for a spreadsheet or an LMS.

Takes: the records of a class. Gives: the table as text. Does not cover: other exports.
"""

import csv
import io
from collections.abc import Iterable, Sequence

from grader.judge.judgement import Status
from grader.record.grade_record import GradeRecord
from grader.report.hostile_text import neutralise_formula
from grader.report.tally import tally_problems

COLUMNS = ("submission", "status", "score", "max_score", "ungraded_points", "held_points")


def render_grades(records: Sequence[GradeRecord]) -> str:
    """Return the grades as CSV: `COLUMNS`, then the points of each problem.

    A problem that is not settled has an empty cell, never 0; so has the score where we failed.
    """
    problems = problem_titles(records)
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow([*COLUMNS, *(neutralise_formula(name) for name in problems)])
    for record in records:
        writer.writerow(_row(record, problems))
    return table.getvalue()


def problem_titles(records: Iterable[GradeRecord]) -> dict[str, str]:
    """Return the title of every problem by name, in the order in which plans list them."""
    return {problem.name: problem.title for record in records for problem in record.plan.problems}


def _row(record: GradeRecord, problems: Iterable[str]) -> list[str]:
    judgement = record.judgement
    tallies = {tally.name: tally for tally in tally_problems(record.plan, judgement)}
    points = (
        _number(tallies[name].points) if name in tallies and tallies[name].settled else ""
        for name in problems
    )
    return [
        neutralise_formula(record.submission.name),
        judgement.status.value,
        "" if judgement.status is Status.UNGRADED else _number(judgement.score),
        _number(judgement.max_score),
        _number(judgement.ungraded_points),
        _number(judgement.held_points),
        *points,
    ]


def _number(points: float) -> str:
    text = f"{points:.4f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
