"""Files on disk that a student may have prepared: only plain files are read, and never too much.

Takes: a path and a limit. Gives: bytes. Does not cover: archives (see `archive`).
"""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from grader.errors import IntakeError, SandboxError
from grader.intake.names import show

MIB = 1 << 20
MAX_DEPTH = 8

IGNORED_NAMES = frozenset({"__MACOSX", "__pycache__"})

# No link is followed, and opening a named pipe does not wait for its other end. Windows lacks both.
_OPEN_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
)


def is_ignored(name: str) -> bool:
    """Return whether a file or folder of this name is left out: hidden ones and tools' leavings."""
    return name.startswith(".") or name in IGNORED_NAMES


def open_regular(path: Path) -> BinaryIO:
    """Open a plain file.

    Raises:
        IntakeError: if it is anything but a plain file: the student's fault.
        SandboxError: if the disk or the rights do not let us: ours.
    """
    try:
        _require_regular(path.lstat().st_mode, path.name)  # opening a device may already do harm
        file = os.fdopen(os.open(path, _OPEN_FLAGS), "rb")
    except OSError as error:
        if error.errno == errno.ELOOP:
            _require_regular(stat.S_IFLNK, path.name)
        raise _unreadable(path, error) from error
    try:
        _require_regular(os.fstat(file.fileno()).st_mode, path.name)
    except BaseException:
        file.close()
        raise
    return file


def read_regular(path: Path, *, limit_bytes: int) -> bytes:
    """Return the content of a plain file of at most `limit_bytes`.

    Raises:
        IntakeError: if it is anything else: the student's fault.
        SandboxError: if the disk or the rights do not let us: ours.
    """
    with open_regular(path) as file:
        try:
            content = file.read(limit_bytes + 1)
            size = max(os.fstat(file.fileno()).st_size, len(content))
        except OSError as error:
            raise _unreadable(path, error) from error
    require_size(path.name, size, limit_bytes=limit_bytes)
    return content


def require_size(name: str, size_bytes: int, *, limit_bytes: int) -> None:
    """Refuse what is larger than its limit.

    Raises:
        IntakeError: naming both sizes.
    """
    if size_bytes > limit_bytes:
        raise IntakeError(
            f"expected at most {limit_bytes // MIB} MiB, found {size_bytes / MIB:.1f} MiB "
            f"in {show(name)}",
            hint="hand in only your own code; clear the outputs of a notebook before saving it",
        )


def list_files(folder: Path, *, max_files: int) -> tuple[str, ...]:
    """Return the relative names of all files below a folder, hidden ones and leavings left out.

    Raises:
        IntakeError: if there are too many, too deep, or anything but files and folders.
        SandboxError: if the disk or the rights do not let us.
    """
    found: list[str] = []
    waiting = [("", 0)]
    folders = 0
    while waiting:
        prefix, depth = waiting.pop()
        for name, mode in _entries(folder / prefix):
            if is_ignored(name):
                continue
            if stat.S_ISDIR(mode):
                waiting.append((f"{prefix}{name}/", depth + 1))
                folders += 1
            else:
                _require_regular(mode, f"{prefix}{name}")
                found.append(f"{prefix}{name}")
            if len(found) > max_files or folders > max_files or depth >= MAX_DEPTH:
                raise IntakeError(
                    f"expected at most {max_files} files in at most {MAX_DEPTH} levels of folders, "
                    f"found more in {show(folder.name)}",
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
        raise _unreadable(folder, error) from error


def _require_regular(mode: int, name: str) -> None:
    if stat.S_ISREG(mode):
        return
    kind = "a symbolic link" if stat.S_ISLNK(mode) else "a device, pipe or other special file"
    raise IntakeError(
        f"expected plain files, found {kind}: {show(name)}",
        hint="hand in the file itself, saved under its own name",
    )


def _unreadable(path: Path, error: OSError) -> SandboxError:
    return SandboxError(
        f"cannot read {path}: {error.strerror or error}",
        hint="check that the file is still there and that you may read it, then grade again",
    )
