"""Grade the sample class on what this machine has, and compare with what each must get.

Takes: names of submissions to leave it at, or nothing. Gives: a table, `out/demo/`, exit code 0 if
every row is as expected. Does not cover: a real class (see `grader grade`).
"""

import argparse
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from grader.author.folders import find_assignment, find_reference
from grader.batch import BatchOptions
from grader.commands.grade import run
from grader.demo.sample_class import MEASURED_PROBLEM, Pupil, make_class
from grader.errors import GraderError, SandboxError
from grader.judge.judgement import Cause, Status
from grader.plan.course import Course, new_seed, open_course
from grader.record.grade_record import GradeRecord
from grader.sandbox.backends import missing_bwrap
from grader.sandbox.contract import Isolation
from grader.sandbox.image import DEFAULT_IMAGE

SLUG = "kv_cache"
OUT = Path("out") / "demo"


def main(arguments: Sequence[str] = ()) -> int:
    """Run the demo; 0 if every submission got what it must."""
    console = Console()
    folder, reference = find_assignment(SLUG, None), find_reference(SLUG, None)
    pupils = _chosen(make_class(folder, reference), arguments)
    shutil.rmtree(OUT, ignore_errors=True)
    handed = OUT / "submissions"
    handed.mkdir(parents=True)
    for pupil in pupils:
        (handed / pupil.file).write_text(pupil.content, encoding="utf-8")
    course = _one_problems_targets(open_course(folder, reference, device="cpu", seed=new_seed()))
    console.print(f"performance is measured for {MEASURED_PROBLEM} alone, to be quick")
    records = _grade(course, handed, console)
    by_name = {record.submission.name: record for record in records}
    rows = [(pupil, by_name[pupil.name]) for pupil in pupils]
    console.print(_table(rows))
    console.print(f"class index:  {OUT / 'index.html'}\ngrades:       {OUT / 'grades.csv'}")
    if "grace" in by_name:
        console.print(f"one student:  {OUT / 'students' / 'grace' / 'report.html'}")
    console.print("`grader doctor` says which walls this machine has and what it did without.")
    return 0 if all(as_expected(pupil, record) for pupil, record in rows) else 1


def _chosen(pupils: tuple[Pupil, ...], arguments: Sequence[str]) -> tuple[Pupil, ...]:
    names = [pupil.name for pupil in pupils]
    parser = argparse.ArgumentParser(prog="python -m grader.demo", description=__doc__)
    parser.add_argument("only", nargs="*", metavar="NAME", help=f"of {', '.join(names)}")
    only = parser.parse_args(arguments).only
    for name in only:
        if name not in names:
            parser.error(f"no submission called {name!r}; there are {', '.join(names)}")
    return tuple(pupil for pupil in pupils if not only or pupil.name in only)


def _one_problems_targets(course: Course) -> Course:
    """Leave out the targets of all problems but one."""
    problems = tuple(
        problem if problem.name == MEASURED_PROBLEM else replace(problem, targets=())
        for problem in course.plan.problems
    )
    return replace(course, plan=replace(course.plan, problems=problems))


def _grade(course: Course, handed: Path, console: Console) -> list[GradeRecord]:
    """Grade behind bubblewrap where it holds, else unconfined, saying so."""
    why_not = missing_bwrap()
    if not why_not:
        try:
            return _run(course, handed, "bwrap", console)
        except SandboxError as error:
            why_not = str(error)
    console.print(f"no bubblewrap wall here: {why_not}", markup=False)
    return _run(course, handed, "none", console)


def _run(course: Course, handed: Path, sandbox: str, console: Console) -> list[GradeRecord]:
    options = BatchOptions(
        sandbox=sandbox, isolation=Isolation.WARM, jobs=2, image=DEFAULT_IMAGE, force=False
    )
    return run(course, [handed], options, out=OUT, console=console, fresh_seed=False)


def leading_cause(record: GradeRecord) -> Cause:
    """Return the cause of most of the checks that did not pass; a GPU is nobody's cause."""
    nobodys = (Cause.NONE, Cause.NO_DEVICE)
    causes = Counter(c.cause for c in record.judgement.checks if c.cause not in nobodys)
    return causes.most_common(1)[0][0] if causes else Cause.NONE


def as_expected(pupil: Pupil, record: GradeRecord) -> bool:
    """Return whether a submission got what it must.

    Where no control group can be made, memory stays open and a grade is provisional.
    """
    judgement = record.judgement
    provisional = judgement.status is Status.PROVISIONAL and pupil.status is Status.GRADED
    return (
        (judgement.status is pupil.status or provisional)
        and leading_cause(record) is pupil.cause
        and pupil.least <= judgement.score <= pupil.most
    )


def _table(rows: list[tuple[Pupil, GradeRecord]]) -> Table:
    table = Table("submission", "what it is")
    for heading in ("status", "cause", "score"):
        table.add_column(heading, no_wrap=True)
    table.add_column("expected")
    for pupil, record in rows:
        expected = f"no: {pupil.status.value}, {pupil.cause.value}"
        table.add_row(
            pupil.name,
            pupil.story,
            record.judgement.status.value,
            leading_cause(record).value,
            f"{record.judgement.score:g} of {record.judgement.max_score:g}",
            "yes" if as_expected(pupil, record) else expected,
        )
    return table


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except GraderError as problem:
        print(f"error: {problem}\n  hint: {problem.hint}", file=sys.stderr)
        sys.exit(1)
