"""Finds the file that is the student's work, and the assignment that it belongs to.

Nothing but the head of a file is read here (see `intake` for the rest).
"""

import hashlib
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from grader.assignment.folders import list_assignments
from grader.errors import UsageError
from grader.intake.entry import assignment_of
from grader.intake.files import MARK_FILE

NOTEBOOK_KEY = "grader"
CUDA_ENDING = ".cu"
ZIP_ENDING = ".zip"
SUFFIXES = (".py", ".ipynb", CUDA_ENDING)
MAX_NOTEBOOK_BYTES = 64 << 20

_ENDINGS = ".py, .ipynb or .cu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One file of a student, and the assignment it is for."""

    path: Path
    slug: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What `grader init` noted in `.grader.toml`.

    Attributes:
        untouched: SHA-256 of each file as it was written, by name.
        version: of the assignment that the files are from.
        told: the newest version that the student was told of since.
    """

    slug: str
    untouched: dict[str, str]
    version: str = ""
    told: str = ""


def find_work(path: Path | None, slug: str | None, assignments: Path | None = None) -> Work:
    """Return the student's file and its assignment; `slug` is given if the student named it.

    The path is a `.py`, `.ipynb` or `.cu` file, a zip to hand in, or a folder that holds the file;
    None: the current one.

    Raises:
        UsageError: if there is no such file or more than one, or the assignment is unknown.
    """
    start = path or Path()
    if start.is_dir():
        return _in_folder(start, slug, assignments)
    if not start.is_file():
        raise UsageError(f"{start}: not found", hint=f"give your {_ENDINGS} file, or its folder")
    if start.suffix not in (*SUFFIXES, ZIP_ENDING):
        raise UsageError(f"{start}: expected a {_ENDINGS} file", hint="give the file you edit")
    known = (
        slug or named_in(start) or read_mark(start.parent).slug or _slug_by_name(start, assignments)
    )
    return Work(path=start, slug=known or _no_slug(start, assignments))


def read_mark(folder: Path) -> Mark:
    """Return what `.grader.toml` in `folder` says.

    Raises:
        UsageError: if the file is damaged.
    """
    path = folder / MARK_FILE
    if not path.is_file():
        return Mark(slug="", untouched={})
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        return Mark(
            slug=str(table["slug"]),
            untouched=dict(table.get("files", {})),
            version=str(table.get("version", "")),
            told=str(table.get("told", "")),
        )
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        hint = "delete it, and name the assignment with --assignment"
        raise UsageError(f"{path}: damaged: {error}", hint=hint) from error


def named_in(path: Path) -> str:
    """Return the slug in a module's head or a notebook's metadata; empty if there is none."""
    try:
        with path.open("rb") as file:
            return assignment_of(path.name, file.read(MAX_NOTEBOOK_BYTES))
    except OSError:
        return ""  # intake reports what is wrong with it


def _in_folder(folder: Path, slug: str | None, assignments: Path | None) -> Work:
    files = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix in SUFFIXES
        and path.is_file()
        and not path.name.startswith(".")
        and path.name != "harness.py"
    ]
    if not files:
        begun = [path.parent.name for path in sorted(folder.glob(f"*/{MARK_FILE}"))]
        first = f"`cd {begun[0]}` first" if begun else "start with `grader init SLUG`"
        raise UsageError(
            f"{folder.resolve()}: no {_ENDINGS} file found here",
            hint=f"{first}, or give the path of your file",
        )
    mark = read_mark(folder)
    names = {named_in(path) or _slug_by_name(path, assignments) for path in files} - {""}
    known = slug or mark.slug or (names.pop() if len(names) == 1 else "")
    if not known:
        _no_slug(folder, assignments)
    return Work(path=_choose(files, known, mark), slug=known)


def _choose(files: list[Path], slug: str, mark: Mark) -> Path:
    """Return the one file that is the work; an unedited starter counts only if all are unedited."""
    named = [path for path in files if named_in(path) == slug or path.stem in (slug, "submission")]
    likely = named or files
    edited = [
        path
        for path in likely
        if mark.untouched.get(path.name) != hashlib.sha256(path.read_bytes()).hexdigest()
    ]
    if len(edited) == 1 or len(likely) == 1:
        return (edited or likely)[0]
    if not edited:
        return next((path for path in likely if path.suffix == ".py"), likely[0])
    listed = ", ".join(path.name for path in edited)
    hint = f"name one of them, for example `grader check {edited[0].name}`"
    raise UsageError(f"several files could be your work: {listed}", hint=hint)


def _slug_by_name(path: Path, assignments: Path | None) -> str:
    known = {folder.name for folder in list_assignments(assignments)}
    stems = [path.stem.removesuffix("-submission")]
    if path.suffix == ZIP_ENDING and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            stems += [Path(name).stem for name in archive.namelist()]
    return next((stem for stem in stems if stem in known), "")


def _no_slug(path: Path, assignments: Path | None) -> NoReturn:
    known = ", ".join(folder.name for folder in list_assignments(assignments)) or "none"
    raise UsageError(
        f"{path}: cannot tell which assignment this belongs to (installed: {known})",
        hint="name it with --assignment SLUG",
    )
