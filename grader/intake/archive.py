"""Zip archives that a student may have prepared, read in memory and never extracted.

Takes: a stream. Gives: the archive's members, and their bytes. Does not cover: which of them
matter (see `contents`, `roster`).
"""

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, cast

from grader.errors import IntakeError
from grader.intake.disk import MIB, require_size
from grader.intake.names import show

MAX_RATIO = 200
RATIO_FREE_BYTES = 8 * MIB
"""Below this a high compression ratio is what repetitive text looks like, and does no harm."""

# What zipfile lets out on rubbish, besides its own error.
ZIP_ERRORS = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    struct.error,
    NotImplementedError,  # features of the format that it does not know
    RuntimeError,  # encryption
    OSError,  # seeks to before the start
    EOFError,
    ValueError,  # names that cannot be decoded
    OverflowError,
    IndexError,
)
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})  # others may ask for gigabytes
_ENCRYPTED = 0x1


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One entry of an archive.

    Attributes:
        name: as stored, backslashes read as `/`; ends in `/` for a folder.
        size_bytes: uncompressed, as the archive claims.
        info: the entry itself.
    """

    name: str
    size_bytes: int
    info: zipfile.ZipInfo

    @property
    def is_folder(self) -> bool:
        """Whether the entry is a folder."""
        return self.name.endswith("/")


class Archive:
    """An open zip archive."""

    def __init__(self, file: zipfile.ZipFile) -> None:
        self._file = file
        self.members = tuple(
            Member(
                name=info.orig_filename.replace("\\", "/"),
                size_bytes=info.file_size,
                info=info,
            )
            for info in file.infolist()
        )

    def read(self, member: Member, *, limit_bytes: int) -> bytes:
        """Return a member's bytes.

        Raises:
            IntakeError: if it is larger than the limit, damaged, encrypted or not a plain file.
        """
        require_plain(member)
        require_size(member.name, member.size_bytes, limit_bytes=limit_bytes)
        try:
            with self._file.open(member.info) as stream:
                content = stream.read(limit_bytes + 1)
        except ZIP_ERRORS as error:
            raise IntakeError(
                f"expected an archive that can be unpacked, found damage at {show(member.name)}: "
                f"{show(str(error))}",
                hint="make the zip again and open it once yourself before handing it in",
            ) from error
        require_size(member.name, len(content), limit_bytes=limit_bytes)
        return content


class _Bounded:
    """A stream that hands out at most so many bytes at once while an archive is being opened.

    zipfile reads the list of members in one piece and makes an object of each; a list of 64 MiB
    would take a gigabyte of memory before the first member could be counted.
    """

    def __init__(self, stream: BinaryIO, limit_bytes: int) -> None:
        self._stream = stream
        self.limit_bytes = limit_bytes

    def read(self, size_bytes: int = -1) -> bytes:
        """Read like any stream, within the limit."""
        if self.limit_bytes and size_bytes > self.limit_bytes:
            raise zipfile.BadZipFile("its list of members is too long")
        return self._stream.read(size_bytes)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Seek like any stream."""
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """Tell like any stream."""
        return self._stream.tell()

    def seekable(self) -> bool:
        """Return true: zipfile asks."""
        return True


@contextmanager
def open_archive(stream: BinaryIO, *, name: str, directory_bytes: int) -> Iterator[Archive]:
    """Open a zip archive.

    Args:
        stream: its bytes; stays open.
        name: for messages.
        directory_bytes: how long the archive's list of members may be.

    Raises:
        IntakeError: if it is not a zip archive, or has too many members to list.
    """
    bounded = _Bounded(stream, directory_bytes)
    try:
        file = zipfile.ZipFile(cast("BinaryIO", bounded))
    except ZIP_ERRORS as error:
        raise IntakeError(
            f"expected a zip archive, found something else in {show(name)}: {show(str(error))}",
            hint="make the zip again (other archive formats are not taken), or hand in the file",
        ) from error
    bounded.limit_bytes = 0
    with file:
        yield Archive(file)


def require_plain(member: Member) -> None:
    """Refuse a member that is no plain file with a harmless name.

    Raises:
        IntakeError: for links, devices, encryption, rare compression, and names that lead outside.
    """
    mode = member.info.external_attr >> 16
    kind = stat.S_IFMT(mode)
    if not is_inside(member.name):
        found = "a name that leads outside the archive"
    elif kind == stat.S_IFLNK:
        found = "a symbolic link"
    elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        found = "a device, pipe or other special file"
    elif member.info.flag_bits & _ENCRYPTED:
        found = "an encrypted file"
    elif member.info.compress_type not in _METHODS:
        found = "an unusual compression method"
    else:
        return
    raise IntakeError(
        f"expected plain files in the archive, found {found}: {show(member.name)}",
        hint="make the zip from your own plain files, without links or a password",
    )


def require_harmless(members: Sequence[Member], *, max_members: int, limit_bytes: int) -> None:
    """Refuse an archive that would take too much to unpack, before any of it is unpacked.

    Raises:
        IntakeError: naming what was allowed and what was found.
    """
    if len(members) > max_members:
        raise IntakeError(
            f"expected at most {max_members} files in the archive, found {len(members)}",
            hint="hand in only your own code, without data, environments or build output",
        )
    total = sum(member.size_bytes for member in members)
    require_size("the unpacked archive", total, limit_bytes=limit_bytes)
    packed = sum(member.info.compress_size for member in members)
    if total > RATIO_FREE_BYTES and total > MAX_RATIO * max(packed, 1):
        raise IntakeError(
            f"expected an archive that unpacks to at most {MAX_RATIO} times its size, "
            f"found {total / max(packed, 1):.0f} times",
            hint="hand in only your own code, without data",
        )
    for member in members:
        require_plain(member)
    names = [member.name for member in members]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise IntakeError(
            f"expected every file once, found {show(twice)} more than once in the archive",
            hint="make the zip again from an empty start",
        )


def is_inside(name: str) -> bool:
    """Return whether a member's name stays below the archive's own top."""
    parts = name.rstrip("/").split("/")
    is_absolute = name.startswith("/") or ":" in parts[0]
    return not is_absolute and "\0" not in name and all(p not in ("", ".", "..") for p in parts)
