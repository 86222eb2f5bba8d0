"""`grader new-assignment`: writes a small complete assignment that passes `grader validate`."""

import importlib.util
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from grader.commands.listing import ASSIGNMENTS, REFERENCE
from grader.errors import missing_extra


def command(
    name: Annotated[str, typer.Argument(help="Name of the new assignment, such as `my_cache`.")],
    assignments: Annotated[Path, ASSIGNMENTS] = Path("assignments"),
    reference: Annotated[Path, REFERENCE] = Path("reference"),
) -> None:
    """Write a small complete assignment and its reference to start from."""
    require_packages("new-assignment", ("jupytext",))
    from grader.release.scaffold import write_scaffold  # imports torch, which takes seconds

    folders = write_scaffold(name, assignments, reference)
    console = Console()
    for folder in folders:
        console.print(Text(f"wrote {folder}"))
    console.print(Text(f"Next: grader validate {name}"), style="bold")
    console.print(Text(f"After each change of cases, oracle or starter: grader release {name}"))


def require_packages(command_name: str, packages: tuple[str, ...]) -> None:
    """Raise a UsageError that tells how to install a package that only course authors need."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise missing_extra(command_name, package, "author")
