"""A cgroup that the judge makes for one child: it limits and meters all of the child's processes.

Memory that the fork server touched before the fork is charged elsewhere. So limits and meters cover
only what the submission adds to torch's own memory. They count all threads and forked processes,
also those that have ended, and nothing inside can reset them.

What is timed by the clock can get a higher CPU weight, so that other processes on the machine
disturb the time less. Some limits hold without a cgroup: rlimits in `runner.confinement`, the
container's own in `sandbox.docker`.

Version 2 is the normal case; hybrid machines still have version 1.
Source: Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst, cgroup-v1/cpuacct.rst and
scheduler/sched-design-CFS.rst of the Linux kernel.
"""

import contextlib
import errno
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

from grader.errors import SandboxError

ROOT = Path("/sys/fs/cgroup")
REMOVE_SECONDS = 2.0
MAKE_TRIES = 20
PARENT = "grader"
HIGH_WEIGHT_PARENT = "grader-high-weight"
"""For cgroups with a higher CPU weight: it only takes effect if the cgroup above has it too."""
HIERARCHIES = ("memory", "pids", "cpuacct")
HIGH_WEIGHT_FACTOR = 16
"""Times the default weight. A busy process beside it still gets 1/17 of a CPU. So does the judge if
the submission keeps all CPUs busy; that is enough to kill it."""
DEFAULT_WEIGHT = {1: ("cpu.shares", 1024), 2: ("cpu.weight", 100)}
"""By version: the file, and its default content."""
SOCKET_BYTES = 4 << 20
"""Limit for the buffers of internet sockets in version 1, which charges them separately. Version 2
charges them with all other memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cgroup:
    """One cgroup; in version 1 it has one folder per controller, in version 2 all are the same.

    Attributes:
        cpu: folder that counts CPU time.
        high_weight: folder with the higher CPU weight, if it has one.
    """

    version: int
    memory: Path
    pids: Path
    cpu: Path
    high_weight: Path | None = None

    @property
    def folders(self) -> set[Path]:
        """Every folder of the cgroup, once."""
        weighted = {self.high_weight} if self.high_weight else set()
        return {self.memory, self.pids, self.cpu} | weighted

    def cpu_ns(self) -> int:
        """Return the CPU time of everything that ever ran in the cgroup, nanoseconds.

        Raises:
            SandboxError: if the meter cannot be read.
        """
        if self.version == 2:
            usage = dict(line.split() for line in _read(self.cpu / "cpu.stat").splitlines())
            return int(usage["usage_usec"]) * 1000
        return int(_read(self.cpu / "cpuacct.usage"))

    def peak_bytes(self) -> int:
        """Return the peak memory of the cgroup, bytes.

        In version 1 this includes swap, on machines that count it.

        Raises:
            SandboxError: if the meter cannot be read (`memory.peak` needs Linux 5.19).
        """
        if self.version == 2:
            return int(_read(self.memory / "memory.peak"))
        with_swap = self.memory / "memory.memsw.max_usage_in_bytes"
        return int(
            _read(with_swap if with_swap.exists() else self.memory / "memory.max_usage_in_bytes")
        )

    def enter(self, pid: int) -> None:
        """Move the process `pid` (as the judge sees it) into the cgroup.

        Raises:
            SandboxError: if it cannot be moved.
        """
        try:
            for folder in self.folders:
                (folder / "cgroup.procs").write_text(str(pid))
        except OSError as error:
            raise SandboxError(
                f"process {pid} could not be moved into its cgroup: {error}"
            ) from error

    def members(self) -> tuple[int, ...]:
        """Return the processes in the cgroup now, as the judge sees them.

        Raises:
            SandboxError: if Linux does not tell.
        """
        return tuple(int(pid) for pid in _read(self.cpu / "cgroup.procs").split())

    def oom_kills(self) -> int:
        """Return how many processes of the cgroup Linux has killed because memory ran out."""
        file = "memory.events" if self.version == 2 else "memory.oom_control"
        for line in (self.memory / file).read_text().splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
        return 0

    def remove(self) -> None:
        """Remove the cgroup; wait a little, because Linux takes time to release ended processes.

        Raises:
            SandboxError: if it cannot be removed.
        """
        deadline = time.monotonic() + REMOVE_SECONDS
        for folder in self.folders:
            while folder.exists():
                try:
                    folder.rmdir()
                except OSError as error:
                    if error.errno != errno.EBUSY or time.monotonic() > deadline:
                        raise SandboxError(
                            f"cgroup {folder} could not be removed: {error}"
                        ) from error
                    time.sleep(0.005)


def remove_parents(root: Path = ROOT) -> None:
    """Remove the folders above the cgroups, unless another run uses them."""
    for folder in parents(root):
        with contextlib.suppress(OSError):  # not empty: another run will remove it
            folder.rmdir()


def make_cgroup(
    name: str, *, memory_bytes: int, processes: int, high_weight: bool = False, root: Path = ROOT
) -> Cgroup | None:
    """Make a cgroup with limits; return None if this user may not make one.

    Args:
        name: unique on this machine.
        memory_bytes: limit for all its processes together.
        processes: limit for its processes and threads together.
        high_weight: whether it gets a higher CPU weight; it gets the default weight if this
            machine or this user's rights do not allow a higher one.
        root: where the cgroup file systems are mounted.

    Raises:
        SandboxError: if it cannot be made for another reason than missing rights.
    """
    path = f"{HIGH_WEIGHT_PARENT if high_weight else PARENT}/{name}"
    try:
        if (root / "cgroup.controllers").exists():
            cgroup = _make_v2(path, memory_bytes, processes, root)
        elif all((root / name).is_dir() for name in HIERARCHIES):
            cgroup = _make_v1(path, memory_bytes, processes, root)
        else:
            return None
        return _raise_weight(cgroup, path, root) if high_weight and cgroup else cgroup
    except OSError as error:
        if isinstance(error, PermissionError) or error.errno == errno.EROFS:
            return None
        raise SandboxError(f"a cgroup could not be made: {error}") from error


def _make_v2(path: str, memory_bytes: int, processes: int, root: Path) -> Cgroup | None:
    if not {"memory", "pids"} <= set((root / "cgroup.controllers").read_text().split()):
        return None
    cgroup = root / path
    _make_folder(cgroup)
    for folder in (root, cgroup.parent):
        (folder / "cgroup.subtree_control").write_text("+memory +pids")
    (cgroup / "memory.max").write_text(str(memory_bytes))
    (cgroup / "pids.max").write_text(str(processes))
    if (cgroup / "memory.swap.max").exists():
        (cgroup / "memory.swap.max").write_text("0")
    return Cgroup(version=2, memory=cgroup, pids=cgroup, cpu=cgroup)


def _make_v1(path: str, memory_bytes: int, processes: int, root: Path) -> Cgroup:
    memory, pids, cpu = (root / kind / _own_path(kind) / path for kind in HIERARCHIES)
    for folder in (memory, pids, cpu):
        _make_folder(folder)
    (memory / "memory.limit_in_bytes").write_text(str(memory_bytes))
    with_swap = memory / "memory.memsw.limit_in_bytes"
    if with_swap.exists():
        with_swap.write_text(str(memory_bytes))
    in_sockets = memory / "memory.kmem.tcp.limit_in_bytes"
    if in_sockets.exists():
        in_sockets.write_text(str(SOCKET_BYTES))
    (pids / "pids.max").write_text(str(processes))
    return Cgroup(version=1, memory=memory, pids=pids, cpu=cpu)


def _raise_weight(cgroup: Cgroup, path: str, root: Path) -> Cgroup:
    """Give a cgroup and the one above it a higher CPU weight, if this machine allows it."""
    folder = cgroup.cpu
    if cgroup.version == 1:  # often, but not always, the same hierarchy as "cpuacct"
        folder = root / "cpu" / _own_path("cpu") / path
    file, weight = DEFAULT_WEIGHT[cgroup.version]
    is_new = not folder.exists()
    try:
        if is_new:
            _make_folder(folder)
        for above in (root, folder.parent) if cgroup.version == 2 else ():
            (above / "cgroup.subtree_control").write_text("+cpu")
        for heavy in (folder.parent, folder):
            (heavy / file).write_text(str(HIGH_WEIGHT_FACTOR * weight))
    except OSError:  # no such controller, or no right to use it
        if is_new:
            with contextlib.suppress(OSError):
                folder.rmdir()
        return cgroup
    return replace(cgroup, high_weight=folder)


def _make_folder(cgroup: Path) -> None:
    """Make a cgroup and the folder above it, which another run may be removing just now."""
    for _ in range(MAKE_TRIES):
        with contextlib.suppress(FileNotFoundError):
            cgroup.parent.mkdir(exist_ok=True)
            cgroup.mkdir()
            return
    raise FileNotFoundError(errno.ENOENT, "other runs keep removing it", str(cgroup.parent))


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise SandboxError(f"a meter of the cgroup could not be read: {error}") from error


def parents(root: Path = ROOT) -> tuple[Path, ...]:
    """Return the existing folders in which `make_cgroup` makes cgroups."""
    above = [root]
    if not (root / "cgroup.controllers").exists():
        above = [root / name / _own_path(name) for name in (*HIERARCHIES, "cpu")]
    candidates = [folder / name for folder in above for name in (PARENT, HIGH_WEIGHT_PARENT)]
    return tuple(folder for folder in candidates if folder.is_dir())


def _own_path(controller: str) -> str:
    """Return this process's path within a version 1 hierarchy, without the leading slash."""
    table = Path(f"/proc/{os.getpid()}/cgroup")
    for line in table.read_text().splitlines() if table.exists() else ():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            return path.lstrip("/")
    return ""
