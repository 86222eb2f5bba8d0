"""`grader check`: runs the public cases on a student's own machine.

Prints a table, or JSON. Exit code 1 if a public case fails. Hidden cases, and with them the grade,
are not part of it.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from grader.assignment.folders import find_assignment
from grader.assignment.table import Assignment, Problem, load_assignment
from grader.commands.listing import AssignmentsOption
from grader.cuda_cpp.compiling import compile_work, print_compiled
from grader.errors import UsageError
from grader.intake.submission import Origin, Submission
from grader.student.packing import load_work
from grader.student.public_run import run_public
from grader.student.result import print_result
from grader.student.work import ZIP_ENDING, Work, find_work

PathArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="[PATH]",
        help="Your .py, .ipynb or .cu file, its folder, or the zip; default: this folder.",
    ),
]
SlugOption = Annotated[
    str | None,
    typer.Option(
        "--assignment",
        metavar="SLUG",
        help="The assignment; needed only if your file does not name it.",
    ),
]


def command(
    path: PathArgument = None,
    *,
    assignment: SlugOption = None,
    problem: Annotated[
        list[str] | None,
        typer.Option("--problem", metavar="NAME", help="Check only this problem; may be repeated."),
    ] = None,
    assignments: AssignmentsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Run the public cases on your work, on this machine; takes seconds."""
    work = find_work(path, assignment, assignments)
    folder = find_assignment(work.slug, assignments)
    table = load_assignment(folder)
    wanted = select_problems(table, problem or [])
    submission = load_work(work, table)
    if submission.origin is Origin.CUDA:
        _check_compiles(submission, table, as_json=as_json)
        return
    result = run_public(submission, folder, table, wanted, source=display_name(work, submission))
    if as_json:
        typer.echo(json.dumps(result.to_json(), indent=2))
    else:
        print_result(result, Console())
    if not result.passed:
        raise typer.Exit(1)


def display_name(work: Work, submission: Submission) -> str:
    """Return the student's own name for the file that is graded."""
    return submission.files[0].name if work.path.suffix == ZIP_ENDING else work.path.name


def _check_compiles(submission: Submission, table: Assignment, *, as_json: bool) -> None:
    """Compile a submission in CUDA C++; running its public cases needs the grader and a GPU."""
    compiled = compile_work(submission, table)
    if as_json:
        typer.echo(json.dumps(asdict(compiled), indent=2))
    else:
        print_compiled(compiled, Console())
    if not compiled.compiles:
        raise typer.Exit(1)


def select_problems(table: Assignment, names: list[str]) -> tuple[Problem, ...]:
    """Return the problems with these names, or all problems if `names` is empty.

    Raises:
        UsageError: if a name is unknown.
    """
    known = [problem.name for problem in table.problems]
    for name in names:
        if name not in known:
            raise UsageError(
                f"{table.slug} has no problem {name!r}", hint=f"it has: {', '.join(known)}"
            )
    return tuple(one for one in table.problems if not names or one.name in names)
