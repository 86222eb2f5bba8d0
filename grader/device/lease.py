"""One timed run per device and machine: a lease that waits in line and dies with its holder.

Takes: the name of a device (a GPU's UUID, or `cpu`). Gives: `hold_lease`. Does not cover: runs on
other machines, or programs that do not ask.

A device has one lock file; who holds its `flock` has the device. Who waits holds the lock of a
ticket file, named so that tickets sort by age, and only the oldest ticket may try for the device.
A lock that can be taken has no owner: so a killed process leaves neither device nor place in line
taken, in whatever pid namespace it was, and no pid that is used again can pass for it.

The folder is the same for all users (mode 1777, as for temporary folders). Nothing in it is
followed through a link, and nothing that lies there is believed but locks.
"""

import contextlib
import errno
import fcntl
import math
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from grader.errors import DeviceError

FOLDER = Path("/tmp/grader-leases")  # noqa: S108 - one place per machine, whatever TMPDIR says
POLL_SECONDS = 0.05

_NAME = re.compile(r"[A-Za-z0-9-]{1,80}")
_TICKET = re.compile(r"ticket\.(?P<device>[A-Za-z0-9-]+)\.(?P<age>\d{20})\.(?P<pid>\d+)")
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_SHARED_MODE = 0o1777


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where in line a waiting run stands.

    Attributes:
        position: runs that come before it, the one that holds the device among them.
        ahead_pid: process of the run just before it, as that run's own pid namespace knows it; 0
            for one that left no ticket.
    """

    position: int
    ahead_pid: int

    def __str__(self) -> str:
        """Say it as a person would."""
        number = self.position + 1
        ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10 * (number % 100 // 10 != 1), "th")
        before = f"process {self.ahead_pid}" if self.ahead_pid else "another run"
        return f"{number}{ending} in line, behind {before}"


def _ignore(_: Place) -> None:
    pass


@contextlib.contextmanager
def hold_lease(
    device: str,
    *,
    folder: Path = FOLDER,
    limit_s: float = math.inf,
    on_wait: Callable[[Place], None] = _ignore,
) -> Iterator[None]:
    """Have a device to oneself while the block runs; the oldest that waits is next.

    Args:
        device: UUID of a GPU, or `cpu` for timed work on the processor.
        folder: where the locks of this machine lie; made if missing.
        limit_s: how long to wait at most.
        on_wait: called with the place in line, once at the start and whenever it changes.

    Raises:
        DeviceError: if the device is not free within the limit, or the folder cannot be used.
    """
    if not _NAME.fullmatch(device):
        raise DeviceError(f"{device!r} is no name of a device")
    with contextlib.ExitStack() as stack:
        try:
            folder_fd = _open_folder(folder)
            stack.callback(os.close, folder_fd)
            lock_fd = _open_lock(folder_fd, f"{device}.lock")
            stack.callback(os.close, lock_fd)
            ticket = stack.enter_context(_ticket(folder_fd, device))
        except OSError as error:
            raise DeviceError(
                f"no lease of {device}: {folder}: {error.strerror}",
                hint="the folder must be one that every user may write to (mode 1777)",
            ) from error
        _wait(folder_fd, lock_fd, ticket, limit_s=limit_s, on_wait=on_wait)
        yield


def _wait(
    folder_fd: int,
    lock_fd: int,
    ticket: str,
    *,
    limit_s: float,
    on_wait: Callable[[Place], None],
) -> None:
    deadline = time.monotonic() + limit_s
    told = 0
    while True:
        ahead = _line(folder_fd, ticket)
        if not ahead and _lock(lock_fd):
            return
        # Nobody ahead, yet the lock is taken: its holder's ticket was removed by somebody.
        place = Place(position=max(len(ahead), 1), ahead_pid=_pid(ahead[-1]) if ahead else 0)
        if place.position != told:
            told = place.position
            on_wait(place)
        if time.monotonic() >= deadline:
            raise DeviceError(
                f"the device was not free within {limit_s:g} s: {place}",
                hint="wait for the other run, or end it",
            )
        time.sleep(POLL_SECONDS)


def _open_folder(folder: Path) -> int:
    """Open the folder of locks, which everybody may write to and nobody may have replaced.

    Raises:
        OSError: if it is something else.
    """
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        folder.chmod(_SHARED_MODE)  # mkdir's own mode is cut by the umask
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    found = os.fstat(fd)
    alone = found.st_uid == os.geteuid() and not found.st_mode & 0o022
    if not alone and not found.st_mode & stat.S_ISVTX:  # others could take our files away
        os.close(fd)
        raise OSError(errno.EPERM, "writable by others, without the sticky bit")
    return fd


def _open_lock(folder_fd: int, name: str) -> int:
    """Open a lock file, making it if needed.

    Not with O_CREAT alone: a sticky folder refuses that for another user's file
    (fs.protected_regular, sysctl/fs.rst of the Linux kernel). Reading is enough for `flock`.
    """
    while True:
        with contextlib.suppress(FileExistsError):
            flags = os.O_CREAT | os.O_EXCL | _READ
            os.close(os.open(name, flags, mode=0o444, dir_fd=folder_fd))
        with contextlib.suppress(FileNotFoundError):  # removed in between
            fd = os.open(name, _READ, dir_fd=folder_fd)
            if stat.S_ISREG(os.fstat(fd).st_mode):
                return fd
            os.close(fd)
            raise OSError(errno.EINVAL, f"{name} is no file")


def _lock(fd: int) -> bool:
    """Take a lock if nobody has it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _ticket(folder_fd: int, device: str) -> Iterator[str]:
    """Stand in line: hold the lock of a ticket, which gets its name once it is locked."""
    while True:
        tail = f"{device}.{time.monotonic_ns():020d}.{os.getpid()}"
        try:
            flags = os.O_CREAT | os.O_EXCL | _READ
            fd = os.open(f"new.{tail}", flags, mode=0o444, dir_fd=folder_fd)
            break
        except FileExistsError:  # another thread, in the same nanosecond
            continue
    name = f"new.{tail}"
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        os.rename(name, f"ticket.{tail}", src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
        name = f"ticket.{tail}"
        yield name
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder_fd)
        os.close(fd)


def _line(folder_fd: int, own: str) -> list[str]:
    """Return the tickets ahead of `own`, oldest first; those without an owner are removed."""
    device = own.split(".")[1]
    ahead = []
    for name in sorted(os.listdir(folder_fd)):
        match = _TICKET.fullmatch(name)
        if match is None or match["device"] != device or name >= own:
            continue
        if _has_owner(folder_fd, name):
            ahead.append(name)
        else:
            with contextlib.suppress(OSError):  # another user's: passed over all the same
                os.unlink(name, dir_fd=folder_fd)
    return ahead


def _has_owner(folder_fd: int, name: str) -> bool:
    try:
        fd = os.open(name, _READ, dir_fd=folder_fd)
    except OSError:  # gone, a link, or not ours to read: none of these keeps anybody waiting
        return False
    try:
        return not _lock(fd)
    finally:
        os.close(fd)


def _pid(ticket: str) -> int:
    return int(ticket.rpartition(".")[2])
