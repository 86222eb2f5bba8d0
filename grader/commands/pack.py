"""`grader pack`: writes `<slug>-submission.zip`, the file that a student hands in."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from grader.assignment.folders import find_assignment
from grader.assignment.table import load_assignment
from grader.commands.check import PathArgument, SlugOption
from grader.commands.listing import AssignmentsOption
from grader.cuda_cpp.compiling import compile_work, print_compiled
from grader.intake.submission import Origin
from grader.student.oversights import MAX_SHOWN
from grader.student.packing import Package, load_work, oversights, pack
from grader.student.public_run import run_public
from grader.student.result import print_result
from grader.student.work import find_work


def command(
    path: PathArgument = None,
    *,
    assignment: SlugOption = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder to write the zip file to.")
    ] = Path(),
    check: Annotated[bool, typer.Option("--check", help="Also run the public cases.")] = False,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Write the zip in spite of what is wrong with it.")
    ] = False,
    assignments: AssignmentsOption = None,
) -> None:
    """Check that your work can be graded, and write the zip file to hand in.

    Nothing is written, and the exit code is 1, if points would be lost to an oversight.
    """
    work = find_work(path, assignment, assignments)
    folder = find_assignment(work.slug, assignments)
    table = load_assignment(folder)
    submission = load_work(work, table, folder)
    console = Console()
    if check and submission.origin is Origin.CUDA:
        print_compiled(compile_work(submission, table), console)
    elif check:
        result = run_public(submission, folder, table, table.problems, source=work.path.name)
        print_result(result, console)
    found = oversights(work, submission, table)
    for sentence in found[:MAX_SHOWN]:
        console.print(Text(f"warning: {sentence}", style="yellow"), soft_wrap=True)
    if len(found) > MAX_SHOWN:
        console.print(f"warning: {len(found) - MAX_SHOWN} more of this kind")
    if found and not anyway:
        console.print(Text("No zip was written. Fix this, or write it with --anyway.", "bold"))
        raise typer.Exit(1)
    _print_package(pack(work, submission, table, out), console)


def _print_package(package: Package, console: Console) -> None:
    for notice in package.notices:
        console.print(Text(f"note: {notice}"))
    for name, size in package.members:
        console.print(Text(f"in the zip: {name} ({size} bytes)"))
    console.print(Text(f"wrote {package.path}", style="bold"))
    console.print(Text(f"sha256 {package.sha256}"), soft_wrap=True)
