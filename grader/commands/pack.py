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
from grader.student.packing import Package, load_work, pack
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
    assignments: AssignmentsOption = None,
) -> None:
    """Check that your work can be read, and write the zip file to hand in."""
    work = find_work(path, assignment, assignments)
    folder = find_assignment(work.slug, assignments)
    table = load_assignment(folder)
    submission = load_work(work, table)
    console = Console()
    if check and submission.origin is Origin.CUDA:
        print_compiled(compile_work(submission, table), console)
    elif check:
        result = run_public(submission, folder, table, table.problems, source=work.path.name)
        print_result(result, console)
    _print_package(pack(work, submission, table, out), console)


def _print_package(package: Package, console: Console) -> None:
    for notice in package.notices:
        console.print(Text(f"note: {notice}"))
    for name in package.missing:
        text = f"warning: {name} is not defined in your file; its problem will get no points"
        console.print(Text(text, style="yellow"))
    for name, size in package.members:
        console.print(Text(f"in the zip: {name} ({size} bytes)"))
    console.print(Text(f"wrote {package.path}", style="bold"))
    console.print(Text(f"sha256 {package.sha256}"), soft_wrap=True)
