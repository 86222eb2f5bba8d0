"""`grader release`: writes the zip file that students install.

Public cases and the starter notebook are made again first.
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from grader.assignment.folders import find_assignment
from grader.commands.listing import AssignmentsOption, ReferenceOption
from grader.commands.new_assignment import require_packages


def command(
    slug: Annotated[str, typer.Argument(help="Assignment, as `grader list` names it.")],
    *,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder to write the zip file to.")
    ] = Path("dist"),
    assignments: AssignmentsOption = None,
    reference: ReferenceOption = None,
) -> None:
    """Record the public cases again and write the zip file that students install."""
    require_packages("release", ("jupytext", "hatchling"))
    # These import torch, which other commands start without.
    from grader.assignment.folders import find_reference
    from grader.release.bundle import release

    folder = find_assignment(slug, assignments)
    bundle = release(folder, find_reference(slug, reference), out)
    console = Console()
    for path in bundle.changed:
        done = "made again" if path.exists() else "deleted, because its problem is gone"
        console.print(Text(f"{done}: {path}"), soft_wrap=True)
    for name in bundle.members:
        console.print(Text(f"in the zip: {name}"))
    console.print(Text(f"wrote {bundle.path}"), style="bold")
    console.print(Text(f"sha256 {bundle.sha256}"), soft_wrap=True)
