"""`grader remove`: removes an assignment that `grader init` has installed."""

from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from grader.student.install import remove


def command(
    name: Annotated[str, typer.Argument(help="Assignment, as `grader list` names it.")],
) -> None:
    """Remove an installed assignment; your own work folders stay."""
    versions = ", ".join(remove(name))
    Console().print(Text(f"removed {name} {versions}; your work folders are untouched"))
