"""Lets one timed run at a time use a device: a lock that all others wait for.

A device has one lock file; whoever holds its lock has the device, and a killed process holds none.
The file also names the holder's process, only for those that wait to read. Runs on other machines,
and programs that do not ask, are not excluded; of those that wait, any may be next, except whoever
has just had it.

The folder is the same for all users (mode 1777, as for temporary folders), and no link is followed.
"""

import contextlib
import errno
import math
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from grader.errors import DeviceError

FOLDER = Path("/tmp/grader-leases")  # noqa: S108 - one place per machine, whatever TMPDIR says
POLL_SECONDS = 0.05
YIELD_SECONDS = 3 * POLL_SECONDS
"""Who has just had a device asks again only after this: otherwise a run that times one submission
after the other would let no other run in."""

_NAME = re.compile(r"[A-Za-z0-9-]{1,80}")
_OPEN = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_SHARED_FOLDER, _SHARED_FILE = 0o1777, 0o666
_released_s: dict[Path, float] = {}  # by lock file: when this process last released it


@contextlib.contextmanager
def hold_lease(
    device: str,
    *,
    folder: Path = FOLDER,
    limit_s: float = math.inf,
    on_wait: Callable[[str], None] = lambda holder: None,
) -> Iterator[None]:
    """Have a device to oneself while the block runs.

    Args:
        device: UUID of a GPU, or `cpu` for timed work on the processor.
        folder: where the locks of this machine are; made if missing.
        limit_s: how long to wait at most.
        on_wait: called with the holder, when the wait begins and whenever the holder changes.

    Raises:
        DeviceError: if the device is not free within the limit, or the folder cannot be used.
    """
    if not _NAME.fullmatch(device):
        raise DeviceError(f"{device!r} is not the name of a device")
    path = folder / f"{device}.lease"
    with contextlib.ExitStack() as stack:
        try:
            _share(folder)
            _refuse_other_than_file(path)
            lock = FileLock(path, mode=_SHARED_FILE, thread_local=False)
            time.sleep(max(_released_s.get(path, 0.0) + YIELD_SECONDS - time.monotonic(), 0.0))
            _wait(lock, path, limit_s=limit_s, on_wait=on_wait)
            stack.callback(_release, lock, path)
            _sign(path)
        except OSError as error:
            raise DeviceError(
                f"cannot lock {device}: {path}: {error.strerror}",
                hint=f"let every user write to {folder} (mode 1777) and to its files (mode 666)",
            ) from error
        yield


def _wait(lock: FileLock, path: Path, *, limit_s: float, on_wait: Callable[[str], None]) -> None:
    deadline, told = time.monotonic() + limit_s, ""
    patience = 0.0
    while True:
        try:
            lock.acquire(timeout=patience, poll_interval=POLL_SECONDS)
            return
        except Timeout:
            holder = _holder(path)
        if holder != told:
            told = holder
            on_wait(holder)
        if time.monotonic() >= deadline:
            raise DeviceError(
                f"the device was not free within {limit_s:g} s: {holder}",
                hint="wait until the other run has finished, or end it",
            )
        patience = min(POLL_SECONDS, max(deadline - time.monotonic(), 0.0))


def _release(lock: FileLock, path: Path) -> None:
    lock.release()
    _released_s[path] = time.monotonic()


def _share(folder: Path) -> None:
    """Make the folder of locks, which every user may write to, or check the one that is there.

    Raises:
        OSError: if it is not a folder, or others could replace its files.
    """
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        folder.chmod(_SHARED_FOLDER)  # mkdir's own mode is cut by the umask
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise OSError(errno.ENOTDIR, "not a folder")
    alone = found.st_uid == os.geteuid() and not found.st_mode & 0o022
    if not alone and not found.st_mode & stat.S_ISVTX:  # others could take our files away
        raise OSError(errno.EPERM, "writable by others, without the sticky bit")


def _refuse_other_than_file(path: Path) -> None:
    """Refuse anything but a plain file, such as a link: its lock would exclude nobody."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(path.lstat().st_mode):
            raise OSError(errno.EINVAL, f"{path.name} is not a plain file")


def _sign(path: Path) -> None:
    """Write the number of this process into the lock file."""
    fd = os.open(path, os.O_WRONLY | _OPEN)
    with open(fd, "w", encoding="ascii") as file:  # noqa: PTH123 - by descriptor
        if os.fstat(fd).st_nlink == 1:  # a hard link would be somebody else's file
            file.truncate(0)
            file.write(str(os.getpid()))


def _holder(path: Path) -> str:
    """Return who has the lock, by the number in that process's own pid namespace."""
    try:
        with open(os.open(path, os.O_RDONLY | _OPEN), encoding="ascii") as file:  # noqa: PTH123
            pid = file.read(20)
    except (OSError, UnicodeDecodeError):
        pid = ""
    return f"process {pid} has it" if pid.isdigit() else "another run has it"
