"""`grader release`: writes what students get, the bundle of an assignment and the wheel.

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
        Path, typer.Option("--out", metavar="DIR", help="Folder to write both files to.")
    ] = Path("dist"),
    assignments: AssignmentsOption = None,
    reference: ReferenceOption = None,
) -> None:
    """Record the public cases again; write the assignment's bundle and the wheel for students."""
    require_packages("release", ("jupytext", "hatchling"))
    # These import torch, which other commands start without.
    from grader.assignment.folders import find_reference
    from grader.evidence.comparison import use_one_thread
    from grader.release.bundle import release

    use_one_thread()  # so that what is recorded is summed in the order that grading uses
    folder = find_assignment(slug, assignments)
    released = release(folder, find_reference(slug, reference), out)
    console = Console()
    for path in released.changed:
        done = "made again" if path.exists() else "deleted, because its problem is gone"
        console.print(Text(f"{done}: {path}"), soft_wrap=True)
    for name in released.members:
        console.print(Text(f"in the zip: {name}"))
    for path in released.replaced:
        text = f"note: {path} was there with other content: give what changed a version of its own"
        console.print(Text(text, style="yellow"))
    console.print(Text(f"wrote {released.wheel}, which is the same for all assignments"))
    console.print(Text(f"wrote {released.path}"), style="bold")
    console.print(Text(f"sha256 {released.sha256}"), soft_wrap=True)
