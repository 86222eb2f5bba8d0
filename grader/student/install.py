"""Installs bundles on a student's machine, several assignments side by side, one version of each.

A bundle's files are written below `assignment.folders.installed_folder`, all or none of them.
Nothing of them is executed here. A work folder belongs to the student: a newer version is named
there, and changes nothing.
"""

import contextlib
import importlib.util
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from grader.assignment.folders import (
    ASSIGNMENT_FILE,
    installed_folder,
    installed_versions,
    version_key,
)
from grader.assignment.table import Assignment, load_assignment
from grader.errors import AuthorError, UsageError
from grader.intake.files import MARK_FILE
from grader.student.bundle import MANIFEST, Bundle, read_manifest
from grader.student.work import read_mark

_TRITON = re.compile(r"^\s*(?:import|from)\s+triton\b", re.MULTILINE)
_VERSION_LINES = re.compile(r'^version = "[^"\n]*"(?:\ntold = "[^"\n]*")?$', re.MULTILINE)
_PUBLIC = re.compile(r"public/([^_].*)\.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What installing a bundle did.

    Attributes:
        folder: of the installed assignment.
        before: the version that was installed before; empty if there was none.
        changes: a line for each kind of difference to it; empty if all files are the same.
    """

    folder: Path
    version: str
    before: str
    changes: tuple[str, ...]


def install(bundle: Bundle) -> Installed:
    """Write a bundle's files in place of any other version of its assignment.

    Raises:
        UsageError: if a newer version is installed, or the files cannot be written.
        AuthorError: if this grader cannot read the bundle's `assignment.toml`.
    """
    name, version = bundle.manifest.name, bundle.manifest.version
    old = installed_versions().get(name, ())
    if old and version_key(old[0].name) > version_key(version):
        hint = f"nothing was installed; to go back to {version}, run `grader remove {name}` first"
        raise UsageError(f"{name} {old[0].name} is installed, and {version} is older", hint=hint)
    target = installed_folder() / name / version
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=target.parent) as scratch:
            written = _write(bundle, Path(scratch) / version)
            changes = _changes(old[0] / name, written / name) if old else ()
            if target not in old or changes:
                if target.exists():
                    target.rename(Path(scratch) / "old")
                written.rename(target)
        for other in old:
            if other != target:
                shutil.rmtree(other, ignore_errors=True)
    except OSError as error:
        hint = "name a folder that you can write to with the variable GRADER_HOME"
        raise UsageError(f"{target}: {error.strerror or error}", hint=hint) from error
    before = old[0].name if old else ""
    return Installed(folder=target / name, version=version, before=before, changes=changes)


def remove(name: str) -> tuple[str, ...]:
    """Remove an installed assignment; return its versions.

    Raises:
        UsageError: if it is not installed, or cannot be removed.
    """
    installed = installed_versions()
    if name not in installed:
        known = ", ".join(installed) or "none"
        raise UsageError(f"{name!r} is not installed; installed are: {known}", hint="`grader list`")
    folder = installed_folder() / name
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror or error}") from error
    return tuple(root.name for root in installed[name])


def note_version(folder: Path, table: Assignment) -> str:
    """Return a sentence if a work folder was made from another version; once for each version.

    That it was said is noted in the folder's `.grader.toml`.
    """
    mark = read_mark(folder)
    if mark.slug != table.slug or table.version in (mark.version, mark.told) or not mark.version:
        return ""
    path = folder / MARK_FILE
    known = f'version = "{mark.version}"\ntold = "{table.version}"'
    noted = _VERSION_LINES.sub(lambda _: known, path.read_text(encoding="utf-8"), count=1)
    with contextlib.suppress(OSError):  # then it is said again
        path.write_text(noted, encoding="utf-8")
    return (
        f"{table.slug} {table.version} is used from now on; this folder was made from "
        f"{mark.version}. `grader init {table.slug} {folder}` renews the handout and what else "
        "you have not edited."
    )


def missing_triton(table: Assignment, texts: Iterable[str] = ()) -> str:
    """Return how to install Triton if it is missing, and the assignment or the work needs it.

    Args:
        table: the assignment.
        texts: sources of the student's work.
    """
    if importlib.util.find_spec("triton") is not None:
        return ""
    if "triton" in table.needs:
        who = table.slug
    elif any(_TRITON.search(text) for text in texts):
        who = "your file"
    else:
        return ""
    if sys.platform != "linux":
        return (
            f"{who} needs Triton, which exists for Linux only: work in WSL, in Colab, or on Linux"
        )
    return f'{who} needs Triton, which is not installed: python -m pip install "triton>=3.4"'


def _write(bundle: Bundle, root: Path) -> Path:
    """Write a bundle's files below `root` and return it.

    Raises:
        AuthorError: if its `assignment.toml` cannot be read, or names another version.
    """
    name, version = bundle.manifest.name, bundle.manifest.version
    for file, content in bundle.files.items():
        path = root / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (root / MANIFEST).write_bytes(bundle.manifest.to_json())
    table = load_assignment(root / name)
    if table.version != version:
        raise AuthorError(
            f"{name}: {MANIFEST} says version {version}, {ASSIGNMENT_FILE} {table.version}",
            hint="tell your course; `grader release` writes the same into both",
        )
    return root


def _changes(old: Path, new: Path) -> tuple[str, ...]:
    """Return what differs between two versions' folders, for people."""
    before = read_manifest(old.parent / MANIFEST).files
    after = read_manifest(new.parent / MANIFEST).files
    same_rules = _rules(old) == _rules(new)  # the version in them differs always
    changed = [
        name
        for name in after
        if before.get(name, after[name]) != after[name]
        and not (name == ASSIGNMENT_FILE and same_rules)
    ]
    sets = {
        "changed": changed,
        "added": [name for name in after if name not in before],
        "removed": [name for name in before if name not in after],
    }
    return tuple(f"{verb}: {_listed(names)}" for verb, names in sets.items() if names)


def _rules(folder: Path) -> Assignment | None:
    """Return all that an assignment's file says but its version; None if it cannot be read."""
    try:
        return replace(load_assignment(folder), version="0")
    except AuthorError:  # written for another version of this program
        return None


def _listed(names: list[str]) -> str:
    problems = [found[1] for name in names if (found := _PUBLIC.fullmatch(name))]
    words = {"README.md": "handout", ASSIGNMENT_FILE: "points, limits or targets"}
    words["public/_performance.json"] = "what targets ask"
    rest = [f"{words[n]} ({n})" if n in words else n for n in names if not _PUBLIC.fullmatch(n)]
    public = [f"public cases of {', '.join(problems)}"] if problems else []
    return "; ".join([*rest, *public])
