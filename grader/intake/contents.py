"""All files of one student's submission in memory: their names, their bytes, and one hash."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

from grader.errors import IntakeError
from grader.intake.files import (
    MIB,
    Archive,
    Member,
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


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file as it was handed in.

    Attributes:
        name: relative to the top of the submission, with `/`.
        content: its bytes.
    """

    name: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """All files of one submission.

    Attributes:
        sha256: of a single file's bytes, or of all names and bytes of a folder or archive.
        files: sorted by name, without hidden files and what tools leave behind.
    """

    sha256: str
    files: tuple[File, ...]


class Refused(IntakeError):
    """A submission that cannot be loaded.

    Attributes:
        sha256: hash of what was handed in; empty if it could not be read.
    """

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
    files: list[File] = []
    left = MAX_TOTAL_BYTES
    for part in source.parts:
        content = _read_bytes(part, limit_bytes=left)
        left -= len(content)
        files.append(File(name=_label(part), content=content))
    return _gather(files)


def _read_part(part: Attachment) -> Contents:
    if part.member.endswith("/"):
        return _read_archived_folder(part)
    if not part.member and part.path.is_dir():
        return _read_folder(part.path)
    content = _read_bytes(part, limit_bytes=MAX_TOTAL_BYTES)
    sha256 = hashlib.sha256(content).hexdigest()
    label = _label(part)
    if not label.lower().endswith(".zip"):
        return Contents(sha256=sha256, files=(File(name=label, content=content),))
    try:
        with open_archive(
            io.BytesIO(content), name=label, directory_bytes=STUDENT_DIRECTORY_BYTES
        ) as archive:
            return _gather(_unpack(archive, archive.members, prefix=""))
    except IntakeError as error:
        raise Refused(error, sha256=sha256) from error


def _read_folder(folder: Path) -> Contents:
    files: list[File] = []
    left = MAX_TOTAL_BYTES
    for name in list_files(folder, max_files=MAX_FILES):
        content = read_regular(folder / name, limit_bytes=left)
        left -= len(content)
        files.append(File(name=name, content=content))
    return _gather(files)


def _read_archived_folder(part: Attachment) -> Contents:
    with (
        open_regular(part.path) as stream,
        open_archive(stream, name=part.path.name, directory_bytes=CLASS_DIRECTORY_BYTES) as archive,
    ):
        members = tuple(m for m in archive.members if m.name.startswith(part.member))
        return _gather(_unpack(archive, members, prefix=part.member))


def _read_bytes(part: Attachment, *, limit_bytes: int) -> bytes:
    if not part.member:
        return read_regular(part.path, limit_bytes=limit_bytes)
    with (
        open_regular(part.path) as stream,
        open_archive(stream, name=part.path.name, directory_bytes=CLASS_DIRECTORY_BYTES) as archive,
    ):
        for member in archive.members:
            if member.name == part.member:
                return archive.read(member, limit_bytes=limit_bytes)
    raise IntakeError(
        f"expected {show(part.member)} in {show(part.path.name)}, found that it is gone",
        hint="the zip has changed since grading began: grade again",
    )


def _unpack(archive: Archive, members: tuple[Member, ...], *, prefix: str) -> list[File]:
    require_harmless(members, max_members=MAX_FILES, limit_bytes=MAX_TOTAL_BYTES)
    files: list[File] = []
    left = MAX_TOTAL_BYTES
    for member in members:
        name = member.name.removeprefix(prefix)
        if member.is_folder or not name or any(is_ignored(p) for p in name.split("/")):
            continue
        content = archive.read(member, limit_bytes=left)
        left -= len(content)
        files.append(File(name=name, content=content))
    return files


def _gather(files: list[File]) -> Contents:
    files = sorted(_without_wrapper(files), key=lambda file: file.name)
    digest = hashlib.sha256()
    for file in files:
        # Lengths first, so that no two submissions have the same stream of bytes.
        name = file.name.encode("utf-8", "surrogatepass")
        digest.update(f"{len(name)} {len(file.content)}\n".encode())
        digest.update(name)
        digest.update(file.content)
    return Contents(sha256=digest.hexdigest(), files=tuple(files))


def _without_wrapper(files: list[File]) -> list[File]:
    """Remove the one folder around everything that most systems put into a zip."""
    tops = {file.name.split("/", 1)[0] for file in files}
    if len(tops) != 1 or not all("/" in file.name for file in files):
        return files
    return [File(name=file.name.split("/", 1)[1], content=file.content) for file in files]


def _label(part: Attachment) -> str:
    return part.label or (part.member or part.path.name).rsplit("/", 1)[-1]
