"""All files of one student's submission in memory: their names, their bytes, and one hash.

What is left out (see `intake.files`) is neither read nor counted.
"""

import hashlib
import io
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import BinaryIO

from grader.errors import IntakeError
from grader.intake.files import (
    MIB,
    Archive,
    Member,
    is_ignored,
    may_be_work,
    open_again,
    open_archive,
    open_regular,
    read_regular,
    require_harmless,
    require_regular,
    show,
    unreadable,
    without_ignored,
)
from grader.intake.submission import Attachment, SubmissionSource

MAX_FILES = 200
MAX_DEPTH = 8
MAX_SEEN = 20_000
"""Entries of folders that are looked at, hidden ones too."""
MAX_TOTAL_BYTES = 64 * MIB
STUDENT_DIRECTORY_BYTES = 8 * MIB
CLASS_DIRECTORY_BYTES = 16 * MIB
ARCHIVE_ENDING = ".zip"

NamedReader = tuple[str, Callable[..., bytes]]
"""A file's name, and a function that reads at most `limit_bytes` of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """All files of one submission.

    Attributes:
        sha256: of a single file's bytes, or of all names and sources of a folder or archive.
        files: bytes by path relative to the top of the submission, with `/`; sorted by path,
            without hidden files and what tools leave behind, but with `.grader.toml`. Of a file
            that cannot be work only the name: no bytes.
        unopened: why archives among the files could not be opened, by path.
    """

    sha256: str
    files: dict[str, bytes]
    unopened: dict[str, IntakeError] = field(default_factory=dict)


class Refused(IntakeError):
    """A submission that was read, and has a hash, but cannot be loaded."""

    def __init__(self, cause: IntakeError, *, sha256: str) -> None:
        super().__init__(str(cause), hint=cause.hint)
        self.sha256 = sha256


def read_contents(source: SubmissionSource) -> Contents:
    """Read one submission into memory, within its limits.

    Raises:
        IntakeError: if it is too large or malformed: the student's fault.
        SandboxError: if the disk fails or access is denied: our fault.
    """
    if len(source.parts) == 1:
        return _read_alone(source.parts[0])
    work = sum(part.is_folder or may_be_work(_label(part)) for part in source.parts)
    if work > MAX_FILES:
        raise IntakeError(
            f"expected at most {MAX_FILES} source files, found {work}",
            hint="hand in only your own code",
        )
    parts = (part for part in source.parts if not is_ignored(_label(part)))
    return _gather(reader for part in parts for reader in _readers(part))


def open_inner(contents: Contents) -> Contents:
    """Return the contents with each archive in them replaced by its files, within the same limits.

    The files of `hw/a.zip` lie in `hw/a.zip/`. The hash stays that of what was handed in.
    """
    files: dict[str, bytes] = {}
    unopened = dict(contents.unopened)
    left = MAX_TOTAL_BYTES - sum(len(content) for content in contents.files.values())
    for name, content in contents.files.items():
        if not is_archive(name) or name in unopened:
            files[name] = content
            continue
        try:
            inner = _read_archive(io.BytesIO(content), name=name, limit_bytes=left)
        except IntakeError as error:
            files[name], unopened[name] = content, error
            continue
        left -= sum(len(one) for one in inner.values())
        files |= {f"{name}/{member}": one for member, one in inner.items()}
        if sum(map(may_be_work, files)) > MAX_FILES:
            raise IntakeError(
                f"expected at most {MAX_FILES} source files, found more in {show(name)}",
                hint="hand in only your own code, without data, environments or build output",
            )
    return Contents(sha256=contents.sha256, files=dict(sorted(files.items())), unopened=unopened)


def is_archive(name: str) -> bool:
    """Return whether a file is an archive that can be opened."""
    return name.lower().endswith(ARCHIVE_ENDING)


def read_attachment(part: Attachment, *, limit_bytes: int) -> bytes:
    """Return the bytes of a file.

    Raises:
        IntakeError: if it is larger, no plain file, or damaged.
        SandboxError: if the disk fails or access is denied.
    """
    if not part.member:
        return read_regular(part.path, limit_bytes=limit_bytes)
    with open_class(part.path) as archive:
        for member in archive.members:
            if member.name == part.member:
                return archive.read(member, limit_bytes=limit_bytes)
    raise IntakeError(
        f"expected {show(part.member)} in {show(part.path.name)}, found that it is gone",
        hint="the zip has changed since grading began: grade again",
    )


@contextmanager
def open_class(path: Path) -> Iterator[Archive]:
    """Open the archive of a whole class.

    Raises:
        IntakeError: if it is not one.
        SandboxError: if the disk fails or access is denied.
    """
    with open_regular(path) as stream:
        status = os.fstat(stream.fileno())
        members = _list_class(path, status.st_mtime_ns, status.st_size)
        with open_again(stream, members) as archive:
            yield archive


@lru_cache(maxsize=2)
def _list_class(path: Path, modified_ns: int, size_bytes: int) -> tuple[Member, ...]:
    """Return the members of a class's archive, parsed once for all its submissions."""
    with (
        open_regular(path) as stream,
        open_archive(stream, name=path.name, directory_bytes=CLASS_DIRECTORY_BYTES) as archive,
    ):
        return archive.members


def _read_alone(part: Attachment) -> Contents:
    """Read the only part: of a file the hash is that of its bytes, unless it is an archive."""
    label = _label(part)
    if part.is_folder:
        return _gather(_readers(part))
    if not is_archive(label):
        content = read_attachment(part, limit_bytes=MAX_TOTAL_BYTES)
        return Contents(sha256=hashlib.sha256(content).hexdigest(), files={label: content})
    with _opened(part) as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        stream.seek(0)
        try:
            files = _read_archive(stream, name=label, limit_bytes=MAX_TOTAL_BYTES)
        except IntakeError as error:
            raise Refused(error, sha256=sha256) from error
        return _hashed(files)


@contextmanager
def _opened(part: Attachment) -> Iterator[io.BufferedReader | io.BytesIO]:
    """Open a file to read; one with much that is left out may be too large for memory."""
    if not part.member and part.path.lstat().st_size > MAX_TOTAL_BYTES:
        with open_regular(part.path) as stream:
            yield stream
    else:
        yield io.BytesIO(read_attachment(part, limit_bytes=MAX_TOTAL_BYTES))


def _readers(part: Attachment) -> Iterator[NamedReader]:
    """Yield a reader of each file of a part."""
    if part.member.endswith("/"):
        with open_class(part.path) as archive:
            yield from _unpack(archive, prefix=part.member, limit_bytes=MAX_TOTAL_BYTES)
    elif part.is_folder:
        for name in _list_files(part.path, max_files=MAX_FILES):
            yield _reader(name, partial(read_regular, part.path / name))
    else:
        yield _reader(_label(part), partial(read_attachment, part))


def _reader(name: str, read: Callable[..., bytes]) -> NamedReader:
    """Return a file's name with its reader; what cannot be work is named and not opened."""
    return name, read if may_be_work(name) else lambda limit_bytes: b""


def _list_files(folder: Path, *, max_files: int) -> tuple[str, ...]:
    """Return the relative names of all files below a folder, without those that are ignored.

    Folders `MAX_DEPTH` levels down are named, with a `/` behind, and not looked into.

    Raises:
        IntakeError: if there are more than `max_files` that may be work, or one of them is no plain
            file, or there is far too much else.
        SandboxError: if the disk fails or access is denied.
    """
    found: list[str] = []
    waiting = [("", 0)]
    seen, work = 0, 0
    while waiting:
        prefix, depth = waiting.pop()
        entries = _entries(folder / prefix)
        kept = set(without_ignored(name for name, _ in entries))
        for name, mode in entries:
            if name not in kept:
                continue
            path = f"{prefix}{name}"
            if stat.S_ISDIR(mode) and depth + 1 < MAX_DEPTH:
                waiting.append((f"{path}/", depth + 1))
            else:
                found.append(f"{path}/" if stat.S_ISDIR(mode) else path)
                if may_be_work(found[-1]):
                    require_regular(mode, path)
                    work += 1
        seen += len(entries)
        if work > max_files or seen > MAX_SEEN:
            raise IntakeError(
                f"expected at most {max_files} source files, and {MAX_SEEN} files in all, found "
                f"more in the folder {show(folder.name)}",
                hint="hand in only your own code, without data, environments or build output",
            )
    return tuple(sorted(found))


def _entries(folder: Path) -> list[tuple[str, int]]:
    try:
        if not stat.S_ISDIR(folder.lstat().st_mode):
            raise IntakeError(
                f"expected a folder, found a link: {show(folder.name)}",
                hint="hand in the folder itself",
            )
        with os.scandir(folder) as entries:
            return [(e.name, e.stat(follow_symlinks=False).st_mode) for e in entries]
    except OSError as error:
        raise unreadable(folder, error) from error


def _read_archive(stream: BinaryIO, *, name: str, limit_bytes: int) -> dict[str, bytes]:
    """Return the files of an archive by path; all of them together may have `limit_bytes`."""
    with open_archive(stream, name=name, directory_bytes=STUDENT_DIRECTORY_BYTES) as archive:
        readers = _unpack(archive, prefix="", limit_bytes=limit_bytes)
        return _read_all(readers, limit_bytes=limit_bytes)


def _unpack(archive: Archive, *, prefix: str, limit_bytes: int) -> Iterator[NamedReader]:
    """Yield a reader of each file below `prefix`, once nothing that is read can do harm."""
    below = {m.name: m for m in archive.members if m.name.startswith(prefix)}
    names = without_ignored(name.removeprefix(prefix) for name in below)
    kept = {f"{prefix}{name}" for name in names if name}
    members = tuple(m for m in archive.members if m.name in kept and not m.is_folder)
    work = tuple(member for member in members if may_be_work(member.name))
    require_harmless(work, max_members=MAX_FILES, limit_bytes=limit_bytes)
    for member in members:
        yield _reader(member.name.removeprefix(prefix), partial(archive.read, member))


def _read_all(readers: Iterable[NamedReader], *, limit_bytes: int) -> dict[str, bytes]:
    read: dict[str, bytes] = {}
    for name, reader in readers:
        read[name] = reader(limit_bytes=limit_bytes)
        limit_bytes -= len(read[name])
    return read


def _gather(readers: Iterable[NamedReader]) -> Contents:
    """Read files, all of them together within the limit."""
    return _hashed(_read_all(readers, limit_bytes=MAX_TOTAL_BYTES))


def _hashed(files: dict[str, bytes]) -> Contents:
    """Return the files with a hash of names and bytes; a folder around all makes no difference."""
    digest = hashlib.sha256()
    for name, content in sorted(_without_wrapper(files).items()):
        # Lengths first, so that no two submissions have the same stream of bytes.
        encoded = name.encode("utf-8", "surrogatepass")
        digest.update(f"{len(encoded)} {len(content)}\n".encode())
        digest.update(encoded)
        digest.update(content)
    return Contents(sha256=digest.hexdigest(), files=dict(sorted(files.items())))


def _without_wrapper(files: dict[str, bytes]) -> dict[str, bytes]:
    """Remove the one folder around everything that most systems put into a zip."""
    tops = {name.split("/", 1)[0] for name in files}
    if len(tops) != 1 or not all("/" in name for name in files):
        return files
    return {name.split("/", 1)[1]: content for name, content in files.items()}


def _label(part: Attachment) -> str:
    return part.label or (part.member or part.path.name).rsplit("/", 1)[-1]
