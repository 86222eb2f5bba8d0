"""`grader init`: installs an assignment, and writes the files that a student starts with.

These are the starter, the handout, the harness and `.grader.toml`, which names the assignment. A
bundle is installed first; its name alone is enough afterwards.
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from grader.assignment.folders import find_assignment
from grader.assignment.table import Assignment, Language, load_assignment
from grader.commands.listing import AssignmentsOption
from grader.errors import UsageError
from grader.student.bundle import is_bundle, read_bundle
from grader.student.install import Installed, install, missing_triton
from grader.student.kit import kit_files, renew_kit, write_kit
from grader.student.work import CUDA_ENDING, read_mark


def command(
    given: Annotated[
        str,
        typer.Argument(
            metavar="ASSIGNMENT",
            help="The bundle that your course gives: a zip, its folder or its https address. Or an "
            "assignment that `grader list` names.",
        ),
    ],
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="Folder to write to; default: ./NAME.")
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
    """Install an assignment from its bundle, and write its starter files."""
    suffixes = _suffixes(notebook, module, language)
    console = Console()
    bundled = is_bundle(given)
    assignment = _install(given, assignments, console) if bundled else None
    assignment = assignment or find_assignment(given, assignments)
    table = load_assignment(assignment)
    if language not in table.languages:
        raise UsageError(f"{table.slug} does not accept CUDA C++", hint="leave --language out")
    target = folder or Path(table.slug)
    files = kit_files(assignment, suffixes=suffixes)
    mark = read_mark(target)
    if mark.slug == table.slug and (bundled or mark.version != table.version) and not force:
        _renew(files, target, console)
    else:
        for path in write_kit(files, target, force=force):
            console.print(Text(f"wrote {path}"))
    _print_next(table, target, suffixes, console)


def _print_next(
    table: Assignment, target: Path, suffixes: tuple[str, ...], console: Console
) -> None:
    triton = "" if CUDA_ENDING in suffixes else missing_triton(table)
    if triton:
        console.print(Text(f"note: {triton}", style="yellow"))
    works = [f"{table.slug}{suffix}" for suffix in suffixes]
    console.print(Text(f"Read {target / 'README.md'}, edit {' or '.join(works)}, then run:"))
    console.print(Text(f"  grader check {target}"), style="bold")


def _suffixes(notebook: bool, module: bool, language: Language) -> tuple[str, ...]:
    if language is Language.CUDA:
        if notebook or module:
            raise UsageError(
                "--language cuda cannot be combined with --notebook or --module",
                hint="leave --notebook and --module out",
            )
        return (CUDA_ENDING,)
    if notebook and module:
        raise UsageError(
            "--notebook and --module cannot be combined", hint="leave out both to get both files"
        )
    return (".ipynb",) if notebook else (".py",) if module else (".py", ".ipynb")


def _install(given: str, assignments: Path | None, console: Console) -> Path:
    """Install a bundle, tell what that changed, and return the assignment's folder."""
    if assignments is not None:
        hint = "leave --assignments out, and unset GRADER_ASSIGNMENTS if you have set it"
        raise UsageError("a bundle is installed elsewhere than in --assignments", hint=hint)
    bundle = read_bundle(given)
    if bundle.sha256:
        console.print(Text(f"read {given}, sha256 {bundle.sha256}"), soft_wrap=True)
    done = install(bundle)
    name = bundle.manifest.name
    for line in _told(name, done):
        console.print(Text(line), soft_wrap=True)
    used = find_assignment(name)
    if used.resolve() != done.folder.resolve():
        note = f"note: here, `grader check` uses {used}, which comes before what is installed"
        console.print(Text(note, style="yellow"))
    return done.folder


def _told(name: str, done: Installed) -> list[str]:
    if not done.before:
        return [f"installed {name} {done.version} in {done.folder.parent}"]
    if done.before != done.version:
        same = [] if done.changes else ["  changed: nothing but the version"]
        return [
            f"installed {name} {done.version} in place of {done.before}:",
            *(f"  {change}" for change in done.changes),
            *same,
        ]
    if not done.changes:
        return [f"{name} {done.version} is installed already"]
    return [
        f"installed {name} {done.version} in place of other files of the same version:",
        *(f"  {change}" for change in done.changes),
        "  A corrected bundle should have a version of its own: tell your course.",
    ]


def _renew(files: dict[str, bytes], target: Path, console: Console) -> None:
    written, kept = renew_kit(files, target)
    for path in written:
        console.print(Text(f"wrote {path}"))
    for name in kept:
        console.print(Text(f"left as it is, because you have edited it: {target / name}"))
    if kept:
        hint = "name another folder to get all files as they are now, or overwrite with --force"
        console.print(Text(f"  {hint}"), style="dim")
