"""Where assignments lie on this machine.

Takes: a slug, and a folder of assignments if the caller names one. Gives: the assignment's folder.
Does not cover: reading it (see `assignment.table`), references (see `assignment.folders`).
"""

from collections.abc import Iterator
from pathlib import Path

from grader.assignment.table import SLUG_PATTERN
from grader.errors import UsageError

PACKAGE = Path(__file__).resolve().parent.parent
"""The installed package; a checkout has its top-level folders beside it."""

MARKER = "assignment.toml"


def find_assignment(slug: str, assignments: Path | None = None) -> Path:
    """Return the folder of the assignment `slug`.

    Args:
        slug: name of the assignment.
        assignments: folder that holds assignments; without it `./assignments`, the installed
            package and the checkout around it are searched, in this order.

    Raises:
        UsageError: if there is no such assignment, naming those that exist.
    """
    for root in _roots(assignments):
        folder = root / slug
        if SLUG_PATTERN.fullmatch(slug) and (folder / MARKER).is_file():
            return folder
    known = ", ".join(folder.name for folder in list_assignments(assignments)) or "none"
    raise UsageError(
        f"no assignment {slug!r}; here are: {known}",
        hint="run `grader list`, or name a folder of assignments with --assignments DIR",
    )


def list_assignments(assignments: Path | None = None) -> tuple[Path, ...]:
    """Return the folders of all assignments by name; the first place that has a name wins.

    Raises:
        UsageError: if `assignments` is given and is no folder.
    """
    found: dict[str, Path] = {}
    for root in _roots(assignments):
        for marker in sorted(root.glob(f"*/{MARKER}")):
            found.setdefault(marker.parent.name, marker.parent)
    return tuple(found[name] for name in sorted(found))


def search_roots(explicit: Path | None, name: str, *, packaged: bool) -> Iterator[Path]:
    """Yield the folders called `name` that may hold what is looked for, nearest first.

    Args:
        explicit: the only place to look, if given.
        name: `assignments` or `reference`.
        packaged: whether such a folder ships inside the package.

    Raises:
        UsageError: if `explicit` is given and is no folder.
    """
    if explicit is not None:
        if not explicit.is_dir():
            raise UsageError(
                f"{explicit}: not a folder", hint=f"it should hold {name}, one folder each"
            )
        yield explicit
        return
    places = [Path(name), PACKAGE / f"_{name}"] if packaged else [Path(name)]
    if (
        PACKAGE.parent / "pyproject.toml"
    ).is_file():  # beside an installed package lies site-packages
        places.append(PACKAGE.parent / name)
    yield from (place for place in places if place.is_dir())


def _roots(assignments: Path | None) -> Iterator[Path]:
    return search_roots(assignments, "assignments", packaged=True)


__all__ = ["find_assignment", "find_reference", "list_assignments"]


def find_reference(slug: str, reference: Path | None = None) -> Path:
    """Return the folder with oracle, solution and cases of the assignment `slug`.

    Args:
        slug: name of the assignment.
        reference: folder that holds references; without it `./reference` and the checkout around
            the package are searched, in this order. References never ship inside the package.

    Raises:
        UsageError: if there is no such reference, naming those that exist.
    """
    known: set[str] = set()
    for root in search_roots(reference, "reference", packaged=False):
        if SLUG_PATTERN.fullmatch(slug) and (root / slug / "cases.py").is_file():
            return root / slug
        known.update(cases.parent.name for cases in root.glob("*/cases.py"))
    raise UsageError(
        f"no reference for {slug!r}; here are: {', '.join(sorted(known)) or 'none'}",
        hint="name a folder of references with --reference DIR or GRADER_REFERENCE",
    )
