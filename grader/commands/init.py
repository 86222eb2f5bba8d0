"""`grader init`: writes the files that a student starts with.

These are the starter, the handout, the harness and `.grader.toml`, which names the assignment.
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from grader.assignment.folders import find_assignment
from grader.assignment.table import Language, load_assignment
from grader.commands.listing import AssignmentsOption
from grader.errors import UsageError
from grader.student.kit import kit_files, write_kit
from grader.student.work import CUDA_ENDING


def command(
    slug: Annotated[str, typer.Argument(help="Assignment, as `grader list` names it.")],
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="Folder to write to; default: ./SLUG.")
    ] = None,
    *,
    notebook: Annotated[bool, typer.Option("--notebook", help="Write only the notebook.")] = False,
    module: Annotated[bool, typer.Option("--module", help="Write only the Python module.")] = False,
    language: Annotated[
        Language,
        typer.Option("--language", help="python, or cuda if the assignment accepts CUDA C++."),
    ] = Language.PYTHON,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
    assignments: AssignmentsOption = None,
) -> None:
    """Write the starter files of an assignment."""
    if notebook and module:
        raise UsageError(
            "--notebook and --module cannot be combined", hint="leave out both to get both files"
        )
    suffixes = (".ipynb",) if notebook else (".py",) if module else (".py", ".ipynb")
    assignment = find_assignment(slug, assignments)
    if language is Language.CUDA:
        if notebook or module:
            raise UsageError(
                "--language cuda cannot be combined with --notebook or --module",
                hint="leave --notebook and --module out",
            )
        if Language.CUDA not in load_assignment(assignment).languages:
            raise UsageError(f"{slug} does not accept CUDA C++", hint="leave --language out")
        suffixes = (CUDA_ENDING,)
    files = kit_files(assignment, suffixes=suffixes)
    target = folder or Path(slug)
    console = Console()
    for path in write_kit(files, target, force=force):
        console.print(Text(f"wrote {path}"))
    works = [f"{slug}{suffix}" for suffix in suffixes]
    console.print(Text(f"Read {target / 'README.md'}, edit {' or '.join(works)}, then run:"))
    console.print(Text(f"  grader check {target}"), style="bold")
