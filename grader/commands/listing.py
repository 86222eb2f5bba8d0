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
    tables = [load_assignment(folder) for folder in list_assignments(assignments)]
    if as_json:
        typer.echo(json.dumps([_to_json(table) for table in tables], indent=2))
        return
    console = Console()
    if not tables:
        console.print("No assignments found. Name their folder with --assignments DIR.")
        return
    for table in tables:
        console.print(_table_of(table))
    console.print(f"Start with `grader init {tables[0].slug}`.", style="dim")


def _table_of(assignment: Assignment) -> Table:
    table = Table(title=Text(f"{assignment.slug}: {assignment.title}"), show_footer=True)
    table.add_column("problem", footer="total")
    table.add_column("what to build")
    checks = sum(len(problem.checks) for problem in assignment.problems)
    table.add_column("checks", justify="right", footer=str(checks))
    table.add_column("points", justify="right", footer=f"{assignment.points:g}")
    for problem in assignment.problems:
        count = str(len(problem.checks))
        table.add_row(Text(problem.name), Text(problem.title), count, f"{problem.points:g}")
    return table


def _to_json(assignment: Assignment) -> dict[str, object]:
    return {
        "slug": assignment.slug,
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
