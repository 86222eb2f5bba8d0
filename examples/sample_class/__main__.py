"""Grade the sample class with what this machine has; compare each grade with the expected one.

`python -m examples.sample_class [NAME ...]` grades all eleven submissions, or those that are
named. It prints a table, writes `out/demo/`, and ends with 0 if every grade is as expected. For
your own class use `grader grade`.
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

from examples.sample_class.submissions import MEASURED_PROBLEM, Student, make_class
from grader.assignment.folders import find_assignment, find_reference
from grader.assignment.loaded import LoadedAssignment, load_assignment_with_reference, new_seed
from grader.batch import BatchOptions
from grader.commands.class_run import run
from grader.errors import GraderError, SandboxError
from grader.judge.judgement import Cause, Status
from grader.record.grade_record import GradeRecord
from grader.sandbox.backends import missing_bwrap
from grader.sandbox.contract import Isolation
from grader.sandbox.image import DEFAULT_IMAGE

SLUG = "kv_cache"
OUT = Path("out") / "demo"


def main(arguments: Sequence[str] = ()) -> int:
    """Run the demo; return 0 if every submission got the expected grade."""
    console = Console()
    folder, reference = find_assignment(SLUG, None), find_reference(SLUG, None)
    students = _chosen(make_class(folder, reference), arguments)
    shutil.rmtree(OUT, ignore_errors=True)
    sources = OUT / "submissions"
    sources.mkdir(parents=True)
    for student in students:
        (sources / student.file).write_text(student.content, encoding="utf-8")
    loaded = _one_problems_targets(
        load_assignment_with_reference(folder, reference, device="cpu", seed=new_seed())
    )
    console.print(f"performance is measured for {MEASURED_PROBLEM} only, to save time")
    records = _grade(loaded, sources, console)
    by_name = {record.submission.name: record for record in records}
    rows = [(student, by_name[student.name]) for student in students]
    console.print(_table(rows))
    console.print(f"class index:  {OUT / 'index.html'}\ngrades:       {OUT / 'grades.csv'}")
    if "grace" in by_name:
        console.print(f"one student:  {OUT / 'students' / 'grace' / 'report.html'}")
    console.print("`grader doctor` says which sandboxes this machine has and what it did without.")
    return 0 if all(as_expected(student, record) for student, record in rows) else 1


def _chosen(students: tuple[Student, ...], arguments: Sequence[str]) -> tuple[Student, ...]:
    names = [student.name for student in students]
    parser = argparse.ArgumentParser(prog="python -m examples.sample_class", description=__doc__)
    parser.add_argument("only", nargs="*", metavar="NAME", help=f"of {', '.join(names)}")
    only = parser.parse_args(arguments).only
    for name in only:
        if name not in names:
            parser.error(f"no submission called {name!r}; there are {', '.join(names)}")
    return tuple(student for student in students if not only or student.name in only)


def _one_problems_targets(loaded: LoadedAssignment) -> LoadedAssignment:
    """Leave out the targets of all problems but one."""
    problems = tuple(
        problem if problem.name == MEASURED_PROBLEM else replace(problem, targets=())
        for problem in loaded.plan.problems
    )
    return replace(loaded, plan=replace(loaded.plan, problems=problems))


def _grade(loaded: LoadedAssignment, sources: Path, console: Console) -> list[GradeRecord]:
    """Grade in bubblewrap if it works here, else without a sandbox, and say so."""
    why_not = missing_bwrap()
    if not why_not:
        try:
            return _run(loaded, sources, "bwrap", console)
        except SandboxError as error:
            why_not = str(error)
    console.print(f"no bubblewrap sandbox here: {why_not}", markup=False)
    return _run(loaded, sources, "none", console)


def _run(
    loaded: LoadedAssignment, sources: Path, sandbox: str, console: Console
) -> list[GradeRecord]:
    options = BatchOptions(
        sandbox=sandbox, isolation=Isolation.WARM, jobs=2, image=DEFAULT_IMAGE, force=False
    )
    return run(loaded, [sources], options, out=OUT, console=console, fresh_seed=False)


def leading_cause(record: GradeRecord) -> Cause:
    """Return the most frequent cause of checks that did not pass; a missing GPU does not count."""
    ignored = (Cause.NONE, Cause.NO_DEVICE)
    causes = Counter(c.cause for c in record.judgement.checks if c.cause not in ignored)
    return causes.most_common(1)[0][0] if causes else Cause.NONE


def as_expected(student: Student, record: GradeRecord) -> bool:
    """Return whether a submission got the expected grade.

    If the machine gives no control group, memory targets stay open and the grade is provisional.
    """
    judgement = record.judgement
    provisional = judgement.status is Status.PROVISIONAL and student.status is Status.GRADED
    return (
        (judgement.status is student.status or provisional)
        and leading_cause(record) is student.cause
        and student.least <= judgement.score <= student.most
    )


def _table(rows: list[tuple[Student, GradeRecord]]) -> Table:
    table = Table("submission", "what it is")
    for heading in ("status", "cause", "score"):
        table.add_column(heading, no_wrap=True)
    table.add_column("expected")
    for student, record in rows:
        expected = f"no: {student.status.value}, {student.cause.value}"
        table.add_row(
            student.name,
            student.story,
            record.judgement.status.value,
            leading_cause(record).value,
            f"{record.judgement.score:g} of {record.judgement.max_score:g}",
            "yes" if as_expected(student, record) else expected,
        )
    return table


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except GraderError as problem:
        print(f"error: {problem}\n  hint: {problem.hint}", file=sys.stderr)
        sys.exit(1)
