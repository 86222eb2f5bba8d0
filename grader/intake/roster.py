"""Finding the submissions in what a teaching assistant points at.

Takes: paths. Gives: one `SubmissionSource` per student, in a fixed order. Does not cover: opening
the work itself (see `admission`).

A file is one submission. So is a folder or zip with `<slug>` or `submission` at its top, ending in
`.py`, `.ipynb` or `.cu`. Any other folder or zip is a class: every file and subfolder in it is
one submission, also of a kind that will be refused, so that no student is passed over in silence.
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from grader.errors import IntakeError, UsageError
from grader.intake.archive import is_inside, open_archive
from grader.intake.contents import CLASS_DIRECTORY_BYTES
from grader.intake.disk import is_ignored, open_regular
from grader.intake.modules import is_entry
from grader.intake.names import is_gradescope_export, make_unique, parse_canvas
from grader.intake.submission import Attachment, SubmissionSource

SUFFIXES = (".py", ".ipynb", ".cu", ".zip")
STAFF_SUFFIXES = (".csv", ".json", ".log", ".md", ".yaml", ".yml")
"""Lists and notes that staff keep beside submissions; nobody hands such a file in."""
MAX_SUBMISSIONS = 5000


_Named = tuple[str, tuple[Attachment, ...]]  # one student's work, and what to call it


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """One file or folder at the top of a place."""

    name: str
    is_folder: bool
    is_link: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A folder or archive, or a folder within one of them; `prefix` is empty or ends in `/`."""

    path: Path
    prefix: str
    is_archive: bool
    names: tuple[str, ...] = ()

    def entries(self) -> tuple[_Entry, ...]:
        """Return what lies at the top, sorted, hidden files and tools' leavings left out."""
        found = self._archived() if self.is_archive else self._on_disk()
        return tuple(sorted(found, key=lambda entry: entry.name))

    def inside(self, name: str) -> "_Place":
        """Return the subfolder `name` as a place."""
        prefix = f"{self.prefix}{name}/"
        return _Place(path=self.path, prefix=prefix, is_archive=self.is_archive, names=self.names)

    def part(self, entry: _Entry, label: str) -> Attachment:
        """Return an entry as part of a student's work."""
        if self.is_archive:
            member = f"{self.prefix}{entry.name}" + ("/" if entry.is_folder else "")
            return Attachment(path=self.path, member=member, label=label)
        return Attachment(path=self.path / self.prefix / entry.name, label=label)

    def _on_disk(self) -> list[_Entry]:
        try:
            with os.scandir(self.path / self.prefix) as entries:
                # A link is not followed here: opening the work is where it is refused.
                return [
                    _Entry(
                        name=e.name,
                        is_folder=e.is_dir(follow_symlinks=False),
                        is_link=e.is_symlink(),
                    )
                    for e in entries
                    if not is_ignored(e.name)
                ]
        except OSError as error:
            raise UsageError(
                f"cannot list {self.path}: {error.strerror}", hint="check that you may read it"
            ) from error

    def _archived(self) -> list[_Entry]:
        found: dict[str, _Entry] = {}
        for name in self.names:
            if not is_inside(name):
                if not self.prefix:  # listed as it is: opening the work is where it is refused
                    found[name] = _Entry(name=name, is_folder=False)
            elif name.startswith(self.prefix) and name != self.prefix:
                top, slash, _ = name.removeprefix(self.prefix).partition("/")
                if not is_ignored(top):
                    found[top] = _Entry(name=top, is_folder=bool(slash))
        return list(found.values())


def collect(paths: Sequence[Path], slug: str) -> tuple[SubmissionSource, ...]:
    """Return one `SubmissionSource` per submission, in the order of `paths` and then of names.

    Args:
        paths: files, folders and zips; an export of Canvas or Gradescope is recognised.
        slug: of the assignment; decides whether a folder or zip is one submission.

    Raises:
        UsageError: if a path does not exist or is of no use, or a class is empty.
    """
    named: list[_Named] = []
    for path in dict.fromkeys(path.absolute() for path in paths):
        found = _collect_one(path, slug)
        if not found and len(paths) == 1:
            raise UsageError(
                f"{path}: expected submissions, found no module, notebook, zip or folder",
                hint=f"point at a folder of submissions, or at a file such as {slug}.py",
            )
        # Among several paths an empty folder is one student's: the class goes on without it.
        named += found or [(path.stem, (Attachment(path=path),))]
    if not named:
        raise UsageError("expected at least one path", hint="give a file, a folder or a zip")
    if len(named) > MAX_SUBMISSIONS:
        raise UsageError(
            f"expected at most {MAX_SUBMISSIONS} submissions, found {len(named)}",
            hint="give the folder of one class",
        )
    names = make_unique(_distinguish(named))
    return tuple(
        SubmissionSource(name=name, parts=parts)
        for name, (_, parts) in zip(names, named, strict=True)
    )


def _collect_one(path: Path, slug: str) -> list[_Named]:
    if not path.exists() and not path.is_symlink():
        raise UsageError(f"{path}: not found", hint="check the path; it must exist")
    alone: list[_Named] = [(path.stem, (Attachment(path=path),))]
    if path.is_dir():
        # A linked folder may lead anywhere; it is refused when it is opened.
        place = _Place(path=path, prefix="", is_archive=False)
        return [(path.name, (Attachment(path=path),))] if path.is_symlink() else _split(place, slug)
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"{path}: expected a folder or a file that ends in {', '.join(SUFFIXES)}",
            hint="give the folder itself to grade everything in it",
        )
    if path.suffix.lower() != ".zip":
        return alone
    try:
        with (
            open_regular(path) as stream,
            open_archive(stream, name=path.name, directory_bytes=CLASS_DIRECTORY_BYTES) as archive,
        ):
            names = tuple(member.name for member in archive.members)
    except IntakeError:
        return alone  # one student's rubbish, link or pipe: refused when it is opened
    return _split(_Place(path=path, prefix="", is_archive=True, names=names), slug)


def _split(place: _Place, slug: str) -> list[_Named]:
    """Return the submissions of a folder or archive: itself, or all in it."""
    entries = place.entries()
    if any(not e.is_folder and is_entry(e.name, slug) for e in entries):
        name = place.path.stem if place.is_archive else place.path.name
        return [(name, (Attachment(path=place.path),))]
    if len(entries) == 1 and entries[0].is_folder:
        wrapper = entries[0].name
        zipped_whole = place.is_archive and wrapper == place.path.stem
        is_work = any(is_entry(e.name, slug) for e in place.inside(wrapper).entries())
        if is_gradescope_export(wrapper) or (zipped_whole and not is_work):
            place = place.inside(wrapper)
            entries = place.entries()
    return _students(place, entries)


def _students(place: _Place, entries: tuple[_Entry, ...]) -> list[_Named]:
    """Return every candidate of a class; attachments of one Canvas user are one submission."""
    students: list[_Named] = []
    attachments: dict[str, int] = {}
    for entry in entries:
        if entry.is_folder:
            students.append((entry.name, (place.part(entry, entry.name),)))
            continue
        canvas = parse_canvas(entry.name)
        if canvas:
            # Taken in whatever its suffix, so that no student of an export goes unmentioned.
            owner, part = canvas[0].owner, place.part(entry, canvas[0].file)
            index = attachments.setdefault(owner, len(students))
            if index < len(students) and _can_join(students[index][1], part):
                students[index] = (owner, (*students[index][1], part))
            else:
                students.append((owner, (part,)))
        elif not entry.name.lower().endswith(STAFF_SUFFIXES):
            # A file of the wrong kind is refused with a message; no student goes unmentioned.
            label = entry.name.rsplit("/", 1)[-1]
            students.append((PurePosixPath(label).stem, (place.part(entry, label),)))
    return students


def _can_join(parts: tuple[Attachment, ...], part: Attachment) -> bool:
    """Return whether an attachment belongs beside others: no archive, and a name of its own."""
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
