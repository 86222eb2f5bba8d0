"""`grader list`: shows the assignments on this machine, as tables or JSON."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from grader.assignment.folders import list_assignments
from grader.assignment.table import Assignment, load_assignment
from grader.errors import AuthorError

ASSIGNMENTS = typer.Option(
    "--assignments",
    envvar="GRADER_ASSIGNMENTS",
    help="Folder that holds assignments, one folder each.",
)
REFERENCE = typer.Option(
    "--reference",
    envvar="GRADER_REFERENCE",
    help="Folder that holds references, one folder each.",
)
AssignmentsOption = Annotated[Path | None, ASSIGNMENTS]
ReferenceOption = Annotated[Path | None, REFERENCE]
DeviceOption = Annotated[
    str, typer.Option(help="Where submissions compute: cpu, cuda, or auto (today the same as cpu).")
]
SandboxOption = Annotated[
    str,
    typer.Option(help="docker, bwrap, auto (docker, or else bwrap), or none (unsafe)."),
]
ImageOption = Annotated[str, typer.Option(help="Container image for `--sandbox docker`.")]


def command(
    assignments: AssignmentsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """List the assignments with their problems and points."""
    folders = list_assignments(assignments)
    found: list[tuple[Assignment, Path]] = []
    for one in folders:
        try:
            found.append((load_assignment(one), one))
        except AuthorError as error:  # one that this version cannot read hides no other
            typer.secho(f"error: {error}", fg="red", err=True)
    if as_json:
        typer.echo(json.dumps([_to_json(*one) for one in found], indent=2))
        return
    console = Console()
    if not found:
        console.print(
            "No assignments found. Install the bundle that your course gives with "
            "`grader init BUNDLE.zip`, or name a folder of assignments with --assignments DIR."
        )
        return
    for table, folder in found:
        console.print(_table_of(table))
        console.print(Text(f"{table.slug} {table.version} in {folder}", style="dim"))
    console.print(f"Start with `grader init {found[0][0].slug}`.", style="dim")


def _table_of(assignment: Assignment) -> Table:
    table = Table(
        title=Text(f"{assignment.slug} {assignment.version}: {assignment.title}"), show_footer=True
    )
    table.add_column("problem", footer="total")
    table.add_column("what to build")
    checks = sum(len(problem.checks) for problem in assignment.problems)
    table.add_column("checks", justify="right", footer=str(checks))
    table.add_column("points", justify="right", footer=f"{assignment.points:g}")
    for problem in assignment.problems:
        count = str(len(problem.checks))
        table.add_row(Text(problem.name), Text(problem.title), count, f"{problem.points:g}")
    return table


def _to_json(assignment: Assignment, folder: Path) -> dict[str, object]:
    return {
        "slug": assignment.slug,
        "version": assignment.version,
        "folder": str(folder),
        "title": assignment.title,
        "points": assignment.points,
        "problems": [
            {
                "name": problem.name,
                "title": problem.title,
                "exports": list(problem.exports),
                "checks": len(problem.checks),
                "points": problem.points,
            }
            for problem in assignment.problems
        ],
    }
