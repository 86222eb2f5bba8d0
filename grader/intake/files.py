"""Bytes that students handed in, on disk or in a zip archive, read within limits.

A student may have prepared every file: only plain files are opened, no link is followed, archives
are read in memory and never extracted, and sizes are checked before and after reading. What the
files mean is decided in `intake.load` and `intake.roster`.
"""

import errno
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

from grader.errors import IntakeError, SandboxError

MIB = 1 << 20
MAX_SHOWN_CHARS = 100
MAX_PATH_CHARS = 4096
MAX_LISTED = 10

MARK_FILE = ".grader.toml"
"""Written by `grader init`; the one hidden file that is read."""

LEFT_OUT_NAMES = frozenset(
    "__macosx __pycache__ node_modules site-packages venv pyvenv.cfg thumbs.db desktop.ini".split()
)
ENVIRONMENT_FILE = "pyvenv.cfg"
ENVIRONMENT_FOLDERS = frozenset("bin include lib lib64 scripts share".split())
"""What a virtual environment, whatever its name, holds beside `pyvenv.cfg`."""

_WORK = re.compile(
    r".*\.(?:py|ipynb|cu|cuh|h|hpp|zip)(?:\.(?:txt|json|download))?", re.IGNORECASE | re.DOTALL
)

# No link is followed, and opening a named pipe does not wait for its other end. Windows lacks both.
_OPEN_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
)

MAX_RATIO = 200
RATIO_FREE_BYTES = 8 * MIB
"""Below this a high compression ratio is what repetitive text looks like, and does no harm."""

# What zipfile raises on malformed archives, besides its own error.
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


def show(name: str) -> str:
    """Return a hostile name as it may stand in a message: printable, on one line, not long."""
    text = "".join(c if c.isprintable() else "?" for c in name)
    return text if len(text) <= MAX_SHOWN_CHARS else text[: MAX_SHOWN_CHARS - 1] + "…"


def list_names(names: Collection[str]) -> str:
    """Return hostile names as a list in a message, sorted; of many, only the first."""
    shown = ", ".join(show(name) for name in sorted(names)[:MAX_LISTED])
    more = len(names) - MAX_LISTED
    return f"{shown} and {more} more" if more > 0 else shown


def is_ignored(name: str) -> bool:
    """Return whether a file or folder is left out: hidden ones, and what tools leave behind."""
    if name in (".", "..", MARK_FILE) or name.startswith(("./", "../")):
        return False  # all but the mark are no names, and refused where they are met
    return name.startswith(".") or name.lower() in LEFT_OUT_NAMES


def may_be_work(name: str) -> bool:
    """Return whether a path may be part of what is graded; all others are named and never opened.

    So no data, picture or link beside the work can keep it from being read.
    """
    file_name = name.rpartition("/")[2]
    return file_name == MARK_FILE or _WORK.fullmatch(file_name) is not None


def without_ignored(names: Iterable[str]) -> list[str]:
    """Return the paths that are not left out, and do not lie in a folder that is.

    Of a virtual environment, whatever its name, the folders that tools made in it are left out.
    """
    names = tuple(names)
    environments = {
        name.removesuffix(ENVIRONMENT_FILE)
        for name in names
        if name.rpartition("/")[2] == ENVIRONMENT_FILE
    }

    def is_left_out(name: str) -> bool:
        if len(name) > MAX_PATH_CHARS:
            return False
        start = 0
        for part in name.rstrip("/").split("/"):
            if is_ignored(part):
                return True
            if part.lower() in ENVIRONMENT_FOLDERS and name[:start] in environments:
                return True
            start += len(part) + 1
        return False

    return [name for name in names if not is_left_out(name)]


def open_regular(path: Path) -> BufferedReader:
    """Open a plain file.

    Raises:
        IntakeError: if it is not a plain file: the student's fault.
        SandboxError: if the disk fails or access is denied: our fault.
    """
    try:
        require_regular(path.lstat().st_mode, path.name)  # opening a device may already do harm
        file = os.fdopen(os.open(path, _OPEN_FLAGS), "rb")
    except OSError as error:
        if error.errno == errno.ELOOP:
            require_regular(stat.S_IFLNK, path.name)
        raise unreadable(path, error) from error
    try:
        require_regular(os.fstat(file.fileno()).st_mode, path.name)
    except BaseException:
        file.close()
        raise
    return file


def read_regular(path: Path, *, limit_bytes: int) -> bytes:
    """Return the content of a plain file of at most `limit_bytes`.

    Raises:
        IntakeError: if it is not, or is larger: the student's fault.
        SandboxError: if the disk fails or access is denied: our fault.
    """
    with open_regular(path) as file:
        try:
            content = file.read(limit_bytes + 1)
            size = max(os.fstat(file.fileno()).st_size, len(content))
        except OSError as error:
            raise unreadable(path, error) from error
    require_size(path.name, size, limit_bytes=limit_bytes)
    return content


def require_size(name: str, size_bytes: int, *, limit_bytes: int) -> None:
    """Raise `IntakeError` for a file that is larger than its limit: the student's fault."""
    if size_bytes > limit_bytes:
        raise IntakeError(
            f"expected at most {limit_bytes // MIB} MiB, found {size_bytes / MIB:.1f} MiB "
            f"in {show(name)}",
            hint="hand in only your own code, and clear the outputs of a notebook before you save",
        )


def require_regular(mode: int, name: str) -> None:
    """Raise `IntakeError` for what is no plain file: the student's fault."""
    if stat.S_ISREG(mode):
        return
    kind = "a symbolic link" if stat.S_ISLNK(mode) else "a device, pipe or other special file"
    raise IntakeError(
        f"expected a plain file, found {kind}: {show(name)}",
        hint="hand in the file itself",
    )


def unreadable(path: Path, error: OSError) -> SandboxError:
    """Return our fault: a disk that fails, or rights that we lack."""
    return SandboxError(
        f"cannot read {path}: {error.strerror or error}",
        hint="check that the file is still there and that you may read it, then grade again",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One entry of an archive.

    Attributes:
        name: as stored, backslashes read as `/`, without a leading `./`; ends in `/` for a folder.
        info: the entry itself; its sizes are what the archive claims.
    """

    name: str
    info: zipfile.ZipInfo

    @property
    def is_folder(self) -> bool:
        """Whether the entry is a folder."""
        return self.name.endswith("/")


class Archive:
    """An open zip archive."""

    def __init__(self, file: zipfile.ZipFile, members: tuple[Member, ...] = ()) -> None:
        self._file = file
        named = (
            (info.orig_filename.replace("\\", "/").removeprefix("./"), info)
            for info in file.infolist()
        )
        self.members = members or tuple(Member(name=n, info=info) for n, info in named if n)

    def read(self, member: Member, *, limit_bytes: int) -> bytes:
        """Return a member's bytes.

        Raises:
            IntakeError: if it is larger than the limit, damaged, encrypted or not a plain file.
        """
        require_plain(member)
        require_size(member.name, member.info.file_size, limit_bytes=limit_bytes)
        try:
            with self._file.open(member.info) as stream:
                content = stream.read(limit_bytes + 1)
        except ZIP_ERRORS as error:
            raise IntakeError(
                f"expected a zip that can be unpacked, found damage at {show(member.name)}: "
                f"{show(str(error))}",
                hint="make the zip again, and open it yourself before you hand it in",
            ) from error
        require_size(member.name, len(content), limit_bytes=limit_bytes)
        return content


class _Bounded:
    """A stream that returns at most so many bytes at once while an archive is being opened.

    zipfile reads the list of members in one piece and makes an object of each: a list of 64 MiB
    would take a gigabyte of memory before the first member could be counted.
    """

    def __init__(self, stream: BinaryIO, limit_bytes: int) -> None:
        self._stream = stream
        self.limit_bytes = limit_bytes

    def read(self, size_bytes: int = -1) -> bytes:
        if self.limit_bytes and size_bytes > self.limit_bytes:
            raise zipfile.BadZipFile("its list of members is too long")
        return self._stream.read(size_bytes)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def seekable(self) -> bool:
        return True


@contextmanager
def open_archive(stream: BinaryIO, *, name: str, directory_bytes: int) -> Iterator[Archive]:
    """Open a zip archive, whose list of members may be `directory_bytes` long.

    The stream stays open; `name` is for messages.

    Raises:
        IntakeError: if it is not a zip archive, or has too many members to list.
    """
    bounded = _Bounded(stream, directory_bytes)
    try:
        file = zipfile.ZipFile(cast("BinaryIO", bounded))
    except ZIP_ERRORS as error:
        raise IntakeError(
            f"expected a zip archive, found something else in {show(name)}: {show(str(error))}",
            hint="make the zip again (other archive formats cannot be read), or hand in the file "
            "itself",
        ) from error
    bounded.limit_bytes = 0
    with file:
        yield Archive(file)


class _Listed(zipfile.ZipFile):
    """An archive whose members are known: their list is not parsed again."""

    def _RealGetContents(self) -> None:  # noqa: N802 - zipfile's own name for it
        self.start_dir = 0


@contextmanager
def open_again(stream: BinaryIO, members: tuple[Member, ...]) -> Iterator[Archive]:
    """Open an archive whose members are known from before; the stream stays open."""
    with _Listed(stream) as file:
        yield Archive(file, members)


def require_plain(member: Member) -> None:
    """Refuse a member that is not a plain file, or whose name could do harm.

    Raises:
        IntakeError: for links, devices, encryption, rare compression, and names that lead outside.
    """
    mode = member.info.external_attr >> 16
    kind = stat.S_IFMT(mode)
    if not is_inside(member.name):
        found = "a name that leads outside the archive"
    elif len(member.name) > MAX_PATH_CHARS:
        found = "a name that no disk can hold"
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
        f"expected plain files in the zip, found {found}: {show(member.name)}",
        hint="make the zip again from your own files, without links and without a password",
    )


def require_harmless(members: Sequence[Member], *, max_members: int, limit_bytes: int) -> None:
    """Raise `IntakeError` for an archive that would take too much, before any of it is unpacked."""
    if len(members) > max_members:
        raise IntakeError(
            f"expected at most {max_members} source files in the zip, found {len(members)}",
            hint="hand in only your own code, without data, environments or build output",
        )
    total = sum(member.info.file_size for member in members)
    require_size("the unpacked zip", total, limit_bytes=limit_bytes)
    packed = sum(member.info.compress_size for member in members)
    if total > RATIO_FREE_BYTES and total > MAX_RATIO * max(packed, 1):
        raise IntakeError(
            f"expected a zip that unpacks to at most {MAX_RATIO} times its size, "
            f"found one of {total / max(packed, 1):.0f} times",
            hint="hand in only your own code, without data",
        )
    for member in members:
        require_plain(member)
    names = [member.name for member in members]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise IntakeError(
            f"expected every file once in the zip, found {show(twice)} more than once",
            hint="delete the zip and make it again",
        )


def is_inside(name: str) -> bool:
    """Return whether a member's name stays below the archive's own top."""
    parts = name.rstrip("/").split("/")
    is_absolute = name.startswith("/") or ":" in parts[0]
    return not is_absolute and "\0" not in name and all(p not in ("", ".", "..") for p in parts)
