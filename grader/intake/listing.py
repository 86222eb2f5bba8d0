"""Names in a folder on disk or in an archive, which may hold a class; no file is opened."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from grader.errors import UsageError
from grader.intake.contents import is_archive
from grader.intake.entry import ENDINGS, real_name, without_second_ending
from grader.intake.files import MARK_FILE, is_ignored, is_inside
from grader.intake.submission import Attachment

STAFF_SUFFIXES = (".csv", ".json", ".log", ".md", ".yaml", ".yml")
"""Lists and notes that staff keep beside submissions; no student hands in such a file."""
STAFF_NAMES = frozenset({"index.html"})

Tree = dict[str, "Tree | None"]
"""The names in a folder of an archive, None for a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file or folder at the top of a folder or archive."""

    name: str
    is_folder: bool

    @property
    def is_of_staff(self) -> bool:
        """Whether it is a list or note beside submissions."""
        name = self.name.lower()
        is_note = name.endswith(STAFF_SUFFIXES) and without_second_ending(name) == name
        return not self.is_folder and (is_note or name in STAFF_NAMES)

    @property
    def can_be_work(self) -> bool:
        """Whether it is a file that could be graded, or an archive."""
        name = real_name(self.name).lower()
        return not self.is_folder and (name.endswith(ENDINGS) or is_archive(name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A folder on disk or in an archive; `prefix` is empty or ends in `/`."""

    path: Path
    prefix: str = ""
    is_archive: bool = False
    tree: Tree

    @property
    def name(self) -> str:
        """Its own name; that of the archive without its ending."""
        if self.prefix:
            return self.prefix.rstrip("/").rpartition("/")[2]
        return self.path.stem if self.is_archive else self.path.name

    def entries(self) -> tuple[Entry, ...]:
        """Return the files and folders at the top, sorted, without those that are left out."""
        if self.is_archive:
            found = [Entry(name=n, is_folder=inner is not None) for n, inner in self.tree.items()]
        else:
            found = self._on_disk()
        kept = (e for e in found if not is_ignored(e.name) and e.name != MARK_FILE)
        return tuple(sorted(kept, key=lambda entry: entry.name))

    def holds(self, name: str) -> bool:
        """Return whether a file or folder is there, also one that is left out."""
        if self.is_archive:
            return name in self.tree
        return os.path.exists(self.path / self.prefix / name)  # noqa: PTH110 - raises for nobody

    def inside(self, name: str) -> "Folder":
        """Return the subfolder `name`."""
        return replace(self, prefix=f"{self.prefix}{name}/", tree=self.tree.get(name) or {})

    def part(self, entry: Entry) -> Attachment:
        """Return an entry as part of a student's work."""
        label = "" if entry.is_folder else entry.name.rpartition("/")[2]
        if self.is_archive:
            member = f"{self.prefix}{entry.name}" + ("/" if entry.is_folder else "")
            return Attachment(path=self.path, member=member, label=label)
        return Attachment(path=self.path / self.prefix / entry.name, label=label)

    def _on_disk(self) -> list[Entry]:
        try:
            with os.scandir(self.path / self.prefix) as entries:
                # A link is not followed here; it is rejected when the submission is opened.
                return [
                    Entry(name=e.name, is_folder=e.is_dir(follow_symlinks=False)) for e in entries
                ]
        except OSError as error:
            if self.prefix:
                return []  # one student's folder: it is told of when it is opened
            raise UsageError(
                f"cannot list {self.path}: {error.strerror}",
                hint="check that you have the right to read it",
            ) from error


def grow(names: Iterable[str]) -> Tree:
    """Return the tree of an archive's members."""
    top: Tree = {}
    for name in names:
        if not is_inside(name):
            top[name] = None  # listed as it is; it is rejected when it is opened
            continue
        *folders, last = name.split("/")
        node: Tree | None = top
        for folder in folders:
            node = node.setdefault(folder, {}) if node is not None else None
        if last and node is not None:
            node.setdefault(last, None)
    return top
