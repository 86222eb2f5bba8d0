"""Finds the folders of assignments and of their references on this machine.

Assignments are looked for in `./assignments`, in the installed package and in the checkout around
it; references, which never ship inside the package, in `./reference` and in the checkout. The first
folder that has a name wins.
"""

from collections.abc import Iterator
from pathlib import Path

from grader.assignment.table import SLUG_PATTERN
from grader.errors import UsageError

PACKAGE = Path(__file__).resolve().parent.parent
"""The installed package; a checkout has its top-level folders beside it."""

ASSIGNMENT_FILE = "assignment.toml"


def find_assignment(slug: str, assignments: Path | None = None) -> Path:
    """Return the folder of the assignment `slug`.

    Args:
        slug: name of the assignment.
        assignments: the only folder to search, if given.

    Raises:
        UsageError: if there is no such assignment; the message names those that exist.
    """
    for root in _assignment_roots(assignments):
        folder = root / slug
        if SLUG_PATTERN.fullmatch(slug) and (folder / ASSIGNMENT_FILE).is_file():
            return folder
    known = ", ".join(folder.name for folder in list_assignments(assignments)) or "none"
    raise UsageError(
        f"no assignment {slug!r}; here are: {known}",
        hint="run `grader list`, or name a folder of assignments with --assignments DIR",
    )


def list_assignments(assignments: Path | None = None) -> tuple[Path, ...]:
    """Return the folders of all assignments, sorted by name.

    Raises:
        UsageError: if `assignments` is given and is no folder.
    """
    found: dict[str, Path] = {}
    for root in _assignment_roots(assignments):
        for file in sorted(root.glob(f"*/{ASSIGNMENT_FILE}")):
            found.setdefault(file.parent.name, file.parent)
    return tuple(found[name] for name in sorted(found))


def find_reference(slug: str, reference: Path | None = None) -> Path:
    """Return the folder with oracle, solution and cases of the assignment `slug`.

    Args:
        slug: name of the assignment.
        reference: the only folder to search, if given.

    Raises:
        UsageError: if there is no such reference; the message names those that exist.
    """
    known: set[str] = set()
    for root in _roots(reference, "reference", (Path("reference"),)):
        if SLUG_PATTERN.fullmatch(slug) and (root / slug / "cases.py").is_file():
            return root / slug
        known.update(cases.parent.name for cases in root.glob("*/cases.py"))
    raise UsageError(
        f"no reference for {slug!r}; here are: {', '.join(sorted(known)) or 'none'}",
        hint="name a folder of references with --reference DIR or GRADER_REFERENCE",
    )


def _assignment_roots(explicit: Path | None) -> Iterator[Path]:
    return _roots(explicit, "assignments", (Path("assignments"), PACKAGE / "_assignments"))


def _roots(explicit: Path | None, name: str, folders: tuple[Path, ...]) -> Iterator[Path]:
    """Yield the existing ones of `folders` and the checkout's folder `name`, or `explicit` alone.

    Raises:
        UsageError: if `explicit` is given and is no folder.
    """
    if explicit is not None:
        if not explicit.is_dir():
            raise UsageError(
                f"{explicit}: not a folder",
                hint=f"expected a folder that holds {name}, each in a folder of its own",
            )
        yield explicit
        return
    if (PACKAGE.parent / "pyproject.toml").is_file():  # not so if the package is installed
        folders = (*folders, PACKAGE.parent / name)
    yield from (folder for folder in folders if folder.is_dir())
