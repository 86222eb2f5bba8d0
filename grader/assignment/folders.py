"""Finds assignments and references on this machine, and the source files that belong to each.

Assignments are looked for in `./assignments`, in the checkout around this package, and among the
bundles that `grader init` has installed (`~/.grader`, or GRADER_HOME); references, which are in no
bundle, in `./reference` and in the checkout. The first folder that has a name wins.

A harness may import files of `assignments/shared/`, and a reference solution files of `kernels/`,
so that each of these is written once. The imported files go with it into the sandbox and the
hashes; those of a harness also go into the student's kit and the bundle.
"""

import ast
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from grader.assignment.table import SLUG_PATTERN, VERSION_PATTERN
from grader.errors import UsageError
from grader.intake.submission import SourceFile

PACKAGE = Path(__file__).resolve().parent.parent
"""The installed package; a checkout has its top-level folders beside it."""

ASSIGNMENT_FILE = "assignment.toml"
SHARED = "shared"
HOME_VARIABLE = "GRADER_HOME"
KERNELS = "kernels"


def find_assignment(slug: str, assignments: Path | None = None) -> Path:
    """Return the folder of the assignment `slug`; only `assignments` is searched, if given.

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
        hint="run `grader list`, give the bundle that your course handed out, as in "
        "`grader init NAME-1.0.zip`, or name a folder of assignments with --assignments DIR",
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

    Only the folder `reference` is searched, if given.

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


def harness_files(assignment: Path) -> tuple[SourceFile, ...]:
    """Return the files of an assignment's harness, none if it has no harness.

    A harness is one file, `harness.py`, or a package `harness/`. What the package imports by a
    relative import and does not hold itself is taken from the folder `shared` beside the assignment
    and becomes a file of the package: `from .tiny_gpt import run` adds `harness/tiny_gpt.py`.
    """
    single = assignment / "harness.py"
    if single.is_file():
        return (_source_file(single, single.name),)
    files = sorted((assignment / "harness").glob("*.py"))
    own = [_source_file(path, f"harness/{path.name}") for path in files]
    return _with_imports(own, "harness", [assignment.parent / SHARED])


def solution_files(reference: Path) -> tuple[SourceFile, ...]:
    """Return the files of a reference solution as they lie in the sandbox, the entry first.

    The entry is `solution.py`, there called `submission.py`. Modules of `kernels/` that it imports,
    directly or through each other, follow; empty if there is no `solution.py`.
    """
    path = reference / "solution.py"
    if not path.is_file():
        return ()
    found = _with_imports([_source_file(path, "submission.py")], KERNELS, kernel_folders(reference))
    # A regular package is found before one of this name that is installed on the machine.
    package = SourceFile(name=f"{KERNELS}/__init__.py", text="")
    return (*found, package) if len(found) > 1 else found


def kernel_folders(reference: Path) -> list[Path]:
    """Return where the modules that a solution imports from `kernels` may lie, nearest first."""
    beside = reference.resolve().parent.parent / KERNELS
    return [beside, *_roots(None, KERNELS, (Path(KERNELS),))]


def shared_folders(reference: Path) -> list[Path]:
    """Return where the relative imports of a reference look after its own folder, nearest first.

    These are the harness of the assignment of the same name, and the files that assignments share.
    """
    beside = reference.resolve().parent.parent / "assignments"
    roots = [beside, *_assignment_roots(None)]
    return [
        folder for root in roots for folder in (root / reference.name / "harness", root / SHARED)
    ]


def shared_files(reference: Path) -> tuple[SourceFile, ...]:
    """Return the files outside its own folder that the modules of a reference import."""
    own = [_source_file(path, f"reference/{path.name}") for path in reference.glob("*.py")]
    return _with_imports(own, "reference", shared_folders(reference))[len(own) :]


def _source_file(path: Path, name: str) -> SourceFile:
    return SourceFile(name=name, text=path.read_text(encoding="utf-8"))


def _with_imports(
    own: Iterable[SourceFile], package: str, folders: Iterable[Path]
) -> tuple[SourceFile, ...]:
    """Return files, and those of `folders` that they import as modules of `package`."""
    found = {file.name: file for file in own}
    waiting = list(found.values())
    while waiting:
        file = waiting.pop()
        for module in _modules_of(package, file):
            name = f"{package}/{module}.py"
            paths = [f / f"{module}.py" for f in folders if (f / f"{module}.py").is_file()]
            if name not in found and paths:
                found[name] = _source_file(paths[0], name)
                waiting.append(found[name])
    return tuple(found.values())


def _modules_of(package: str, file: SourceFile) -> Iterator[str]:
    """Yield the modules of `package` that a file imports; none of one that cannot be parsed."""
    try:
        tree = ast.parse(file.text)
    except SyntaxError:  # whoever imports the file reports it
        return
    inside = file.name.startswith(f"{package}/")
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom):
            continue
        first, _, module = (node.module or "").partition(".")
        if node.level == 1 and inside:
            module = node.module or ""
        elif node.level or first != package:
            continue
        yield from [module] if module else [alias.name for alias in node.names]


def installed_folder() -> Path:
    """Return where bundles are installed: `assignments` in GRADER_HOME, or in `~/.grader`.

    Raises:
        UsageError: if neither is known.
    """
    try:
        home = Path(os.environ.get(HOME_VARIABLE) or Path.home() / ".grader")
    except RuntimeError as error:
        raise UsageError(str(error), hint=f"name a folder with {HOME_VARIABLE}") from error
    return home / "assignments"


def installed_versions() -> dict[str, tuple[Path, ...]]:
    """Return, by assignment, a folder for each installed version of it, the newest first.

    The folder is named by the version. It holds the assignment in a folder named by the slug, and
    the bundle's manifest.
    """
    try:
        files = installed_folder().glob(f"*/*/*/{ASSIGNMENT_FILE}")
    except UsageError:  # without a home nothing is installed
        return {}
    found: dict[str, list[Path]] = {}
    for *_, slug, version, inner in (file.parent.parts for file in files):
        if slug == inner and SLUG_PATTERN.fullmatch(slug) and VERSION_PATTERN.fullmatch(version):
            found.setdefault(slug, []).append(installed_folder() / slug / version)
    for paths in found.values():
        paths.sort(key=lambda path: version_key(path.name), reverse=True)
    return {slug: tuple(found[slug]) for slug in sorted(found)}


def version_key(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, to compare it with others: 1.10 is newer than 1.9."""
    return tuple(int(number) for number in re.findall(r"[0-9]+", version))


def _assignment_roots(explicit: Path | None) -> Iterator[Path]:
    yield from _roots(explicit, "assignments", (Path("assignments"),))
    if explicit is None:
        yield from (versions[0] for versions in installed_versions().values())


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
