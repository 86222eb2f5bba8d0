"""All files of one student's submission in memory: their names, their bytes, and one hash."""

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from grader.errors import IntakeError
from grader.intake.files import (
    MIB,
    Archive,
    is_ignored,
    list_files,
    open_archive,
    open_regular,
    read_regular,
    require_harmless,
    show,
)
from grader.intake.submission import Attachment, SubmissionSource

MAX_FILES = 200
MAX_TOTAL_BYTES = 64 * MIB
STUDENT_DIRECTORY_BYTES = 1 * MIB
CLASS_DIRECTORY_BYTES = 16 * MIB

NamedReader = tuple[str, Callable[..., bytes]]
"""A file's name, and a function that reads at most `limit_bytes` of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """All files of one submission.

    Attributes:
        sha256: of a single file's bytes, or of all names and bytes of a folder or archive.
        files: bytes by name relative to the top of the submission, with `/`; sorted by name,
            without hidden files and what tools leave behind.
    """

    sha256: str
    files: dict[str, bytes]


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
        return _read_part(source.parts[0])
    if len(source.parts) > MAX_FILES:
        raise IntakeError(
            f"expected at most {MAX_FILES} files, found {len(source.parts)}",
            hint="hand in only your own code",
        )
    return _gather((_label(part), partial(_read_bytes, part)) for part in source.parts)


def _read_part(part: Attachment) -> Contents:
    if part.member.endswith("/"):
        with open_class(part.path) as archive:
            return _gather(_unpack(archive, prefix=part.member))
    if not part.member and part.path.is_dir():
        names = list_files(part.path, max_files=MAX_FILES)
        return _gather((name, partial(read_regular, part.path / name)) for name in names)
    content = _read_bytes(part, limit_bytes=MAX_TOTAL_BYTES)
    sha256 = hashlib.sha256(content).hexdigest()
    label = _label(part)
    if not label.lower().endswith(".zip"):
        return Contents(sha256=sha256, files={label: content})
    try:
        with open_archive(
            io.BytesIO(content), name=label, directory_bytes=STUDENT_DIRECTORY_BYTES
        ) as archive:
            return _gather(_unpack(archive, prefix=""))
    except IntakeError as error:
        raise Refused(error, sha256=sha256) from error


@contextmanager
def open_class(path: Path) -> Iterator[Archive]:
    """Open the archive of a whole class.

    Raises:
        IntakeError: if it is not one.
        SandboxError: if the disk fails or access is denied.
    """
    with (
        open_regular(path) as stream,
        open_archive(stream, name=path.name, directory_bytes=CLASS_DIRECTORY_BYTES) as archive,
    ):
        yield archive


def _read_bytes(part: Attachment, *, limit_bytes: int) -> bytes:
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


def _unpack(archive: Archive, *, prefix: str) -> Iterator[NamedReader]:
    """Yield a reader of each file below `prefix`, once nothing there can do harm."""
    members = tuple(m for m in archive.members if m.name.startswith(prefix))
    require_harmless(members, max_members=MAX_FILES, limit_bytes=MAX_TOTAL_BYTES)
    for member in members:
        name = member.name.removeprefix(prefix)
        if name and not member.is_folder and not any(is_ignored(p) for p in name.split("/")):
            yield name, partial(archive.read, member)


def _gather(readers: Iterable[NamedReader]) -> Contents:
    """Read files, all of them together within the limit, and hash their names and bytes."""
    read: dict[str, bytes] = {}
    left = MAX_TOTAL_BYTES
    for name, reader in readers:
        read[name] = reader(limit_bytes=left)
        left -= len(read[name])
    files = dict(sorted(_without_wrapper(read).items()))
    digest = hashlib.sha256()
    for name, content in files.items():
        # Lengths first, so that no two submissions have the same stream of bytes.
        encoded = name.encode("utf-8", "surrogatepass")
        digest.update(f"{len(encoded)} {len(content)}\n".encode())
        digest.update(encoded)
        digest.update(content)
    return Contents(sha256=digest.hexdigest(), files=files)


def _without_wrapper(files: dict[str, bytes]) -> dict[str, bytes]:
    """Remove the one folder around everything that most systems put into a zip."""
    tops = {name.split("/", 1)[0] for name in files}
    if len(tops) != 1 or not all("/" in name for name in files):
        return files
    return {name.split("/", 1)[1]: content for name, content in files.items()}


def _label(part: Attachment) -> str:
    return part.label or (part.member or part.path.name).rsplit("/", 1)[-1]
