"""Finds what a run has left on the machine: processes, files, cgroups, containers, sockets.

`Watch` needs the run's TMPDIR and the pid of its judge. Other runs may go on at the same time, so
only what can be traced to the watched run counts: by its temporary folder, its pid or its parent
processes. Linux only.
"""

import contextlib
import ctypes
import gc
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
FIRST_CHILD_UID = 0x6772_0000
PATIENCE_S = 15.0
_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_OWN_DESCRIPTORS = ("socket:", "pipe:", "anon_inode:[pidfd]", "/memfd:", "net:")


class Watch:
    """One watched run.

    Attributes:
        folder: the TMPDIR of the run, which may be a run within this process.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._judges = {os.getpid()}
        self._processes = descendants()
        self._cgroups = cgroups_of(self._judges)  # of sandboxes that other fixtures keep running
        self._shared = shared_memory()
        self._descriptors = descriptors()

    def judge(self, pid: int) -> None:
        """Search also for cgroups of the judge with process id `pid`."""
        self._judges.add(pid)

    def left(self, *, descriptors_too: bool = False) -> list[str]:
        """Return what is left, once nothing more vanishes by itself."""
        deadline = time.monotonic() + PATIENCE_S
        while (found := self._find(descriptors_too)) and time.monotonic() < deadline:
            time.sleep(0.1)
        return found

    def _find(self, descriptors_too: bool) -> list[str]:
        mark = str(self.folder)
        found = [f"process {what}" for what in sorted(descendants() - self._processes)]
        cgroups = [c for c in cgroups_of(self._judges) if c not in self._cgroups]
        found += [f"cgroup {cgroup}" for cgroup in cgroups]
        found += [f"container {name}" for name in containers(mark)]
        found += [f"file {path}" for path in sorted(self.folder.rglob("*"))]
        found += [f"mount {line}" for line in lines("/proc/self/mountinfo") if mark in line]
        found += [f"socket {line}" for line in lines("/proc/net/unix") if mark in line]
        found += [f"shared memory {path}" for path in sorted(shared_memory() - self._shared)]
        if descriptors_too:
            gc.collect()
            found += [f"descriptor {what}" for what in sorted(descriptors() - self._descriptors)]
        return found


@contextlib.contextmanager
def watch() -> Iterator[Watch]:
    """Watch what runs in the block with `folder` as TMPDIR; this process adopts its orphans."""
    # Short: the path of a Unix socket has at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="watch-", dir="/tmp"))
    libc = ctypes.CDLL(None)
    libc.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield Watch(folder)
    finally:
        libc.prctl(_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        shutil.rmtree(folder, ignore_errors=True)


def wait_until(true: Callable[[], object], *, within_s: float, what: str) -> None:
    """Wait for a condition; fail the test if it does not come true in time."""
    deadline = time.monotonic() + within_s
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s:g} s: {what}")
        time.sleep(0.01)


def lines(path: str) -> list[str]:
    return Path(path).read_text(errors="replace").splitlines()


def parents() -> dict[int, tuple[int, str]]:
    """Return each living process's parent, and its own name: pid, start time and command."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError):
            head, _, tail = stat.read_text().rpartition(")")
            fields = tail.split()
            if fields[0] not in "ZX":
                pid, _, command = head.partition(" (")
                found[int(pid)] = (int(fields[1]), f"{pid} {fields[19]} {command}")
    return found


def descendants(root: int = 0) -> frozenset[str]:
    """Return the names of all living processes below `root`, which is this one by default."""
    table = parents()
    below = {root or os.getpid()}
    grown = True
    while grown:
        more = {pid for pid, (parent, _) in table.items() if parent in below} - below
        grown = bool(more)
        below |= more
    return frozenset(table[pid][1] for pid in below - {root or os.getpid()} if pid in table)


def cgroups_of(judges: set[int]) -> list[str]:
    """Return the cgroups whose names say that one of `judges` made them."""
    found = []
    for folder, inside, _ in os.walk(CGROUPS):
        if Path(folder).name in ("grader", "grader-high-weight"):
            for name in inside:
                numbers = name.split("-")[0].split(".")
                if len(numbers) == 3 and int(numbers[1], 16) in judges:
                    found.append(f"{folder}/{name}")
    return found


def containers(mark: str) -> list[str]:
    """Return the sandbox containers that mount something below the folder `mark`."""
    from grader.errors import SandboxError
    from grader.sandbox.image import connect_engine

    try:
        client = connect_engine()
    except (SandboxError, ModuleNotFoundError):
        return []
    with contextlib.closing(client):
        return [
            str(container.name)
            for container in client.containers.list(
                all=True, filters={"label": "grader.sandbox"}, ignore_removed=True
            )
            if any(str(m.get("Source", "")).startswith(mark) for m in container.attrs["Mounts"])
        ]


def shared_memory() -> frozenset[str]:
    """Return the files of children's uids in the machine's own shared memory."""
    found = set()
    for path in Path("/dev/shm").rglob("*"):
        with contextlib.suppress(OSError):
            if path.lstat().st_uid >= FIRST_CHILD_UID:
                found.add(str(path))
    return frozenset(found)


def descriptors() -> frozenset[str]:
    """Return the sockets, pipes, memory files and process descriptors that this process holds."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if (what := str(link.readlink())).startswith(_OWN_DESCRIPTORS):
                found.add(f"{link.name}: {what}")
    return frozenset(found)
