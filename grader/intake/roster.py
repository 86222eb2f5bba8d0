"""Finds the submissions in the files, folders and zips that course staff name, one per student.

A file is one submission. So is a folder or zip with a file `<slug>` or `submission` at its top that
ends in `.py`, `.ipynb` or `.cu`. Any other folder or zip is a class: every file and subfolder in it
is one submission, also if its type will be rejected, so that no student is left out unnoticed.
Names of students come from file names: they are made safe as folder names, and unique in a class.
The submissions themselves are opened later (see `intake.load`).
"""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from grader.errors import IntakeError, UsageError
from grader.intake.contents import open_class
from grader.intake.files import is_ignored, is_inside
from grader.intake.modules import is_entry
from grader.intake.submission import Attachment, SubmissionSource

SUFFIXES = (".py", ".ipynb", ".cu", ".zip")
STAFF_SUFFIXES = (".csv", ".json", ".log", ".md", ".yaml", ".yml")
"""Lists and notes that staff keep beside submissions; no student hands in such a file."""
MAX_SUBMISSIONS = 5000
MAX_NAME_CHARS = 80
UNNAMED = "unnamed"

# Source: Canvas's bulk download: <sortable name>[_LATE]_<user>_<attachment>_<file name>.
_CANVAS = re.compile(r"(?P<who>\w+?)(?:_LATE)?_(?P<user>\d+)_(?P<attachment>\d+)_(?P<file>.+)")
_RESUBMISSION = re.compile(r"-\d{1,2}(?=\.[^.]+\Z)")
_GRADESCOPE_EXPORT = re.compile(r"assignment_\d+_export")


@dataclass(frozen=True, slots=True, kw_only=True)
class CanvasName:
    """The parts of a file name in a Canvas bulk download.

    Attributes:
        owner: `<sortable name>_<user>`, the same for all attachments of one student.
        file: the file's name as the student gave it, without the mark of a resubmission.
    """

    owner: str
    file: str


def parse_canvas(name: str) -> tuple[CanvasName, ...]:
    """Return the parts of a Canvas file name; empty if it is not one."""
    match = _CANVAS.fullmatch(name)
    if match is None:
        return ()
    file = _RESUBMISSION.sub("", match["file"])
    return (CanvasName(owner=f"{match['who']}_{match['user']}", file=file),)


def make_safe(name: str) -> str:
    """Return `name` in letters, digits, `.`, `_` and `-`, at most 80 of them, no leading dot.

    Accents fall away; letters of other scripts become their code point, so that two students with
    such names can still be told apart.
    """
    safe = "".join(_safe_character(c) for c in unicodedata.normalize("NFKD", name))
    return safe.strip(".-_ ")[:MAX_NAME_CHARS].rstrip(".") or UNNAMED


def make_unique(names: Iterable[str]) -> list[str]:
    """Return the names made safe, later ones with a suffix so that no two are equal in any case."""
    taken: set[str] = set()
    unique: list[str] = []
    for name in map(make_safe, names):
        candidate, count = name, 1
        while candidate.lower() in taken:
            count += 1
            suffix = f"-{count}"
            candidate = name[: MAX_NAME_CHARS - len(suffix)] + suffix
        taken.add(candidate.lower())
        unique.append(candidate)
    return unique


def _safe_character(character: str) -> str:
    if character.isascii():
        return character if character.isalnum() or character in "._-" else "_"
    if unicodedata.combining(character):
        return ""
    return f"u{ord(character):x}" if character.isalnum() else "_"


_Named = tuple[str, tuple[Attachment, ...]]  # a student's name and work


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """One file or folder at the top of a folder or archive."""

    name: str
    is_folder: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Folder:
    """A folder on disk or in an archive; `prefix` is empty or ends in `/`."""

    path: Path
    prefix: str
    is_archive: bool
    names: tuple[str, ...] = ()

    def entries(self) -> tuple[_Entry, ...]:
        """Return the files and folders at the top, sorted, without those that are ignored."""
        found = self._archived() if self.is_archive else self._on_disk()
        return tuple(sorted(found, key=lambda entry: entry.name))

    def inside(self, name: str) -> "_Folder":
        """Return the subfolder `name`."""
        return replace(self, prefix=f"{self.prefix}{name}/")

    def part(self, entry: _Entry, label: str) -> Attachment:
        """Return an entry as part of a student's work."""
        if self.is_archive:
            member = f"{self.prefix}{entry.name}" + ("/" if entry.is_folder else "")
            return Attachment(path=self.path, member=member, label=label)
        return Attachment(path=self.path / self.prefix / entry.name, label=label)

    def _on_disk(self) -> list[_Entry]:
        try:
            with os.scandir(self.path / self.prefix) as entries:
                # A link is not followed here; it is rejected when the submission is opened.
                return [
                    _Entry(name=e.name, is_folder=e.is_dir(follow_symlinks=False))
                    for e in entries
                    if not is_ignored(e.name)
                ]
        except OSError as error:
            raise UsageError(
                f"cannot list {self.path}: {error.strerror}",
                hint="check that you have the right to read it",
            ) from error

    def _archived(self) -> list[_Entry]:
        found: dict[str, _Entry] = {}
        for name in self.names:
            if not is_inside(name):
                if not self.prefix:  # listed as it is; it is rejected when it is opened
                    found[name] = _Entry(name=name, is_folder=False)
            elif name.startswith(self.prefix) and name != self.prefix:
                top, slash, _ = name.removeprefix(self.prefix).partition("/")
                if not is_ignored(top):
                    found[top] = _Entry(name=top, is_folder=bool(slash))
        return list(found.values())


def collect(paths: Sequence[Path], slug: str) -> tuple[SubmissionSource, ...]:
    """Return one `SubmissionSource` per submission, in the order of `paths` and then of names.

    An export of Canvas or Gradescope is recognised. The assignment's `slug` decides whether a
    folder or zip is one submission.

    Raises:
        UsageError: if a path does not exist or cannot hold submissions, or a class is empty.
    """
    named: list[_Named] = []
    for path in dict.fromkeys(path.absolute() for path in paths):
        found = _collect_one(path, slug)
        if not found and len(paths) == 1:
            raise UsageError(
                f"{path}: expected submissions, found no module, notebook, zip or folder in it",
                hint=f"name a folder of submissions, or a file such as {slug}.py",
            )
        # Among several paths an empty folder is one student's: it is rejected, the others go on.
        named += found or [(path.stem, (Attachment(path=path),))]
    if not named:
        raise UsageError("expected at least one path", hint="name a file, a folder or a zip")
    if len(named) > MAX_SUBMISSIONS:
        raise UsageError(
            f"expected at most {MAX_SUBMISSIONS} submissions, found {len(named)}",
            hint="name the folder of one class",
        )
    owners = _distinguish(named)
    names = make_unique(owners)
    return tuple(
        SubmissionSource(name=name, key=key, parts=parts)
        for name, key, (_, parts) in zip(names, owners, named, strict=True)
    )


def _collect_one(path: Path, slug: str) -> list[_Named]:
    if not path.exists() and not path.is_symlink():
        raise UsageError(f"{path}: not found", hint="check the path for typing errors")
    alone: list[_Named] = [(path.stem, (Attachment(path=path),))]
    if path.is_dir():
        if path.is_symlink():  # it may lead anywhere; it is rejected when it is opened
            return [(path.name, (Attachment(path=path),))]
        return _split(_Folder(path=path, prefix="", is_archive=False), slug)
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"{path}: expected a folder, or a file that ends in {', '.join(SUFFIXES)}",
            hint="name the folder to grade everything in it",
        )
    if path.suffix.lower() != ".zip":
        return alone
    try:
        with open_class(path) as archive:
            names = tuple(member.name for member in archive.members)
    except IntakeError:
        return alone  # one student's broken zip, link or pipe: rejected when it is opened
    return _split(_Folder(path=path, prefix="", is_archive=True, names=names), slug)


def _split(folder: _Folder, slug: str) -> list[_Named]:
    """Return the submissions of a folder or archive: itself as one, or everything in it."""
    entries = folder.entries()
    if any(not e.is_folder and is_entry(e.name, slug) for e in entries):
        name = folder.path.stem if folder.is_archive else folder.path.name
        return [(name, (Attachment(path=folder.path),))]
    if len(entries) == 1 and entries[0].is_folder:
        wrapper = entries[0].name
        zipped_whole = folder.is_archive and wrapper == folder.path.stem
        is_work = any(is_entry(e.name, slug) for e in folder.inside(wrapper).entries())
        if _GRADESCOPE_EXPORT.fullmatch(wrapper) or (zipped_whole and not is_work):
            folder = folder.inside(wrapper)
            entries = folder.entries()
    return _students(folder, entries)


def _students(folder: _Folder, entries: tuple[_Entry, ...]) -> list[_Named]:
    """Return all submissions of a class; attachments of one Canvas user are one submission."""
    students: list[_Named] = []
    attachments: dict[str, int] = {}
    for entry in entries:
        if entry.is_folder:
            students.append((entry.name, (folder.part(entry, entry.name),)))
            continue
        canvas = parse_canvas(entry.name)
        if canvas:
            # Whatever its suffix, so that no student of an export is left out unnoticed.
            owner, part = canvas[0].owner, folder.part(entry, canvas[0].file)
            index = attachments.setdefault(owner, len(students))
            if index < len(students) and _can_join(students[index][1], part):
                students[index] = (owner, (*students[index][1], part))
            else:
                students.append((owner, (part,)))
        elif not entry.name.lower().endswith(STAFF_SUFFIXES):
            # A file of a wrong type is rejected later, with a message to its student.
            label = entry.name.rsplit("/", 1)[-1]
            students.append((PurePosixPath(label).stem, (folder.part(entry, label),)))
    return students


def _can_join(parts: tuple[Attachment, ...], part: Attachment) -> bool:
    """Return whether an attachment goes with others: no archive, and a different file name."""
    labels = {other.label for other in parts}
    return part.label not in labels and not any(
        label.lower().endswith(".zip") for label in (*labels, part.label)
    )


def _distinguish(named: list[_Named]) -> list[str]:
    """Name files that share a name (`*/kv_cache.py`) after the folders they lie in."""
    counts = Counter(name for name, _ in named)
    folders = Counter(
        parts[0].path.parent for name, parts in named if counts[name] > 1 and not parts[0].member
    )
    return [
        parts[0].path.parent.name or name
        if counts[name] > 1
        and not parts[0].member
        and parts[0].path.stem == name
        and folders[parts[0].path.parent] == 1  # else the folder is the class
        else name
        for name, parts in named
    ]
