"""A control group that the judge makes for one child: limits, and meters that count all of it.

Takes: limits. Gives: `Cgroup`, or nothing where this user may not make one. Does not cover: the
limits that hold without it (rlimits in `runner.confinement`, the engine's own in `sandbox.docker`).

Memory that the warm process touched before the fork is charged elsewhere: what is limited and
metered here is what the submission adds to torch's own footprint. Counted are all threads and
forked processes, ended ones too; nothing inside can reset the meters.

What is timed by the clock may go first: its group weighs more than what others run, so that it
measures the submission and not who else is at the machine.

Version 2 is the normal case; version 1 is what hybrid machines still have.
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
FIRST_PARENT = "grader-first"
"""What goes first: a group weighs no more than those above it."""
HIERARCHIES = ("memory", "pids", "cpuacct")
FIRST_TIMES = 16
"""How often the default weight. A process beside it that never rests gets a seventeenth of a
processor, and so does the judge if the submission spins on all of them: enough to end it."""
DEFAULT_WEIGHT = {1: ("cpu.shares", 1024), 2: ("cpu.weight", 100)}
"""By version: the file, and what the kernel writes into it."""
SOCKET_BYTES = 4 << 20
"""What may lie in the buffers of a group's internet sockets, in version 1, where they are charged
apart. Version 2 charges them with all other memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cgroup:
    """One group, or one folder per controller of version 1.

    Attributes:
        version: 1 or 2.
        memory: folder that limits memory.
        pids: folder that limits processes; the same one in version 2.
        cpu: folder that counts processor time; the same one in version 2.
        first: folder whose processes go before others, if they do.
    """

    version: int
    memory: Path
    pids: Path
    cpu: Path
    first: Path | None = None

    @property
    def folders(self) -> set[Path]:
        """Every folder of the group, once."""
        return {self.memory, self.pids, self.cpu} | ({self.first} if self.first else set())

    def cpu_ns(self) -> int:
        """Return the processor time of everything that ever ran in the group, nanoseconds.

        Raises:
            SandboxError: if the kernel does not tell.
        """
        if self.version == 2:
            usage = dict(line.split() for line in _read(self.cpu / "cpu.stat").splitlines())
            return int(usage["usage_usec"]) * 1000
        return int(_read(self.cpu / "cpuacct.usage"))

    def peak_bytes(self) -> int:
        """Return the most memory that the group held at any time, bytes.

        In version 1, what was swapped out is counted too, where swap is counted at all.

        Raises:
            SandboxError: if the kernel does not tell (`memory.peak` is as old as Linux 5.19).
        """
        if self.version == 2:
            return int(_read(self.memory / "memory.peak"))
        with_swap = self.memory / "memory.memsw.max_usage_in_bytes"
        return int(
            _read(with_swap if with_swap.exists() else self.memory / "memory.max_usage_in_bytes")
        )

    def enter(self, pid: int) -> None:
        """Move the process `pid` (as the judge sees it) into the group.

        Raises:
            SandboxError: if it cannot be moved.
        """
        try:
            for folder in self.folders:
                (folder / "cgroup.procs").write_text(str(pid))
        except OSError as error:
            raise SandboxError(f"cannot limit process {pid}: {error}") from error

    def oom_kills(self) -> int:
        """Return how many processes of the group the kernel has ended for want of memory."""
        file = "memory.events" if self.version == 2 else "memory.oom_control"
        for line in (self.memory / file).read_text().splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
        return 0

    def remove(self) -> None:
        """Remove the group; its processes have ended, but the kernel may still be forgetting them.

        Raises:
            SandboxError: if it stays.
        """
        deadline = time.monotonic() + REMOVE_SECONDS
        for folder in self.folders:
            while folder.exists():
                try:
                    folder.rmdir()
                except OSError as error:
                    if error.errno != errno.EBUSY or time.monotonic() > deadline:
                        raise SandboxError(f"cannot remove {folder}: {error}") from error
                    time.sleep(0.005)


def remove_parents(root: Path = ROOT) -> None:
    """Remove the folders above the groups, unless another run uses them."""
    for folder in parents(root):
        with contextlib.suppress(OSError):  # not empty: the last one out removes it
            folder.rmdir()


def make_cgroup(
    name: str, *, memory_bytes: int, processes: int, first: bool = False, root: Path = ROOT
) -> Cgroup | None:
    """Make a group with limits, or return None where this user may not.

    Args:
        name: unique on this machine.
        memory_bytes: for all processes of the group together.
        processes: processes and threads of the group together.
        first: whether its processes shall go before others. Where the kernel or a user's rights
            have no weights the group is made without.
        root: where the control-group file systems are mounted.
    """
    path = f"{FIRST_PARENT if first else PARENT}/{name}"
    try:
        if (root / "cgroup.controllers").exists():
            group = _make_v2(path, memory_bytes, processes, root)
            return _go_first(group, path, root) if first and group else group
        if all((root / name).is_dir() for name in HIERARCHIES):
            group = _make_v1(path, memory_bytes, processes, root)
            return _go_first(group, path, root) if first else group
    except PermissionError:
        return None
    except OSError as error:
        if error.errno == errno.EROFS:
            return None
        raise SandboxError(f"cannot make a control group: {error}") from error
    return None


def _make_v2(path: str, memory_bytes: int, processes: int, root: Path) -> Cgroup | None:
    if not {"memory", "pids"} <= set((root / "cgroup.controllers").read_text().split()):
        return None
    group = root / path
    _make_folder(group)
    for folder in (root, group.parent):
        (folder / "cgroup.subtree_control").write_text("+memory +pids")
    (group / "memory.max").write_text(str(memory_bytes))
    (group / "pids.max").write_text(str(processes))
    if (group / "memory.swap.max").exists():
        (group / "memory.swap.max").write_text("0")
    return Cgroup(version=2, memory=group, pids=group, cpu=group)


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


def _go_first(group: Cgroup, path: str, root: Path) -> Cgroup:
    """Give a group and the one above it more weight, where that can be had."""
    folder = group.cpu
    if group.version == 1:  # often, but not always, one hierarchy with that of the meter
        folder = root / "cpu" / _own_path("cpu") / path
    file, weight = DEFAULT_WEIGHT[group.version]
    is_new = not folder.exists()
    try:
        if is_new:
            _make_folder(folder)
        for above in (root, folder.parent) if group.version == 2 else ():
            (above / "cgroup.subtree_control").write_text("+cpu")
        for heavy in (folder.parent, folder):
            (heavy / file).write_text(str(FIRST_TIMES * weight))
    except OSError:  # no such controller, or it is not ours to use
        if is_new:
            with contextlib.suppress(OSError):
                folder.rmdir()
        return group
    return replace(group, first=folder)


def _make_folder(group: Path) -> None:
    """Make a group and, if need be, the folder above, which another run may be removing now."""
    for _ in range(MAKE_TRIES):
        with contextlib.suppress(FileNotFoundError):
            group.parent.mkdir(exist_ok=True)
            group.mkdir()
            return
    raise FileNotFoundError(errno.ENOENT, "removed again and again", str(group.parent))


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise SandboxError(f"cannot read a meter: {error}") from error


def parents(root: Path = ROOT) -> tuple[Path, ...]:
    """Return the folders that exist and in which `make_cgroup` makes groups."""
    above = [root]
    if not (root / "cgroup.controllers").exists():
        above = [root / name / _own_path(name) for name in (*HIERARCHIES, "cpu")]
    candidates = [folder / name for folder in above for name in (PARENT, FIRST_PARENT)]
    return tuple(folder for folder in candidates if folder.is_dir())


def _own_path(controller: str) -> str:
    """Return this process's path within a version 1 hierarchy, without the leading slash."""
    table = Path(f"/proc/{os.getpid()}/cgroup")
    for line in table.read_text().splitlines() if table.exists() else ():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            return path.lstrip("/")
    return ""
