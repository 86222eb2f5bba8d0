"""A control group that the judge makes for the children of one wall: memory and process limits.

Takes: limits. Gives: `Cgroup`, or nothing where this user may not make one. Does not cover: the
limits that hold without it (rlimits in `runner.jail`, the engine's own in `sandbox.docker`).

Version 2 is the normal case; version 1 is what hybrid machines still have.
Source: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst of the Linux kernel.
"""

import contextlib
import errno
import os
import time
from dataclasses import dataclass
from pathlib import Path

from grader.errors import SandboxError

ROOT = Path("/sys/fs/cgroup")
REMOVE_SECONDS = 2.0
PARENT = "grader"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cgroup:
    """One group, or one folder per controller of version 1.

    Attributes:
        version: 1 or 2.
        memory: folder that limits memory.
        pids: folder that limits processes; the same one in version 2.
    """

    version: int
    memory: Path
    pids: Path

    def enter(self, pid: int) -> None:
        """Move the process `pid` (as the judge sees it) into the group.

        Raises:
            SandboxError: if it cannot be moved.
        """
        try:
            for folder in {self.memory, self.pids}:
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
        for folder in {self.memory, self.pids}:
            while folder.exists():
                try:
                    folder.rmdir()
                except OSError as error:
                    if error.errno != errno.EBUSY or time.monotonic() > deadline:
                        raise SandboxError(f"cannot remove {folder}: {error}") from error
                    time.sleep(0.005)
            with contextlib.suppress(
                OSError
            ):  # shared with other runs: the last one out removes it
                folder.parent.rmdir()


def make_cgroup(
    name: str, *, memory_bytes: int, processes: int, root: Path = ROOT
) -> Cgroup | None:
    """Make a group with limits, or return None where this user may not.

    Args:
        name: unique on this machine.
        memory_bytes: for all processes of the group together.
        processes: processes and threads of the group together.
        root: where the control-group file systems are mounted.
    """
    try:
        if (root / "cgroup.controllers").exists():
            return _make_v2(name, memory_bytes, processes, root)
        if (root / "memory").is_dir() and (root / "pids").is_dir():
            return _make_v1(name, memory_bytes, processes, root)
    except PermissionError:
        return None
    except OSError as error:
        if error.errno == errno.EROFS:
            return None
        raise SandboxError(f"cannot make a control group: {error}") from error
    return None


def _make_v2(name: str, memory_bytes: int, processes: int, root: Path) -> Cgroup | None:
    if not {"memory", "pids"} <= set((root / "cgroup.controllers").read_text().split()):
        return None
    parent = root / PARENT
    parent.mkdir(exist_ok=True)
    for folder in (root, parent):
        (folder / "cgroup.subtree_control").write_text("+memory +pids")
    group = parent / name
    group.mkdir()
    (group / "memory.max").write_text(str(memory_bytes))
    (group / "pids.max").write_text(str(processes))
    if (group / "memory.swap.max").exists():
        (group / "memory.swap.max").write_text("0")
    return Cgroup(version=2, memory=group, pids=group)


def _make_v1(name: str, memory_bytes: int, processes: int, root: Path) -> Cgroup:
    memory = root / "memory" / _own_path("memory") / PARENT / name
    pids = root / "pids" / _own_path("pids") / PARENT / name
    for folder in (memory, pids):
        folder.parent.mkdir(exist_ok=True)
        folder.mkdir()
    (memory / "memory.limit_in_bytes").write_text(str(memory_bytes))
    with_swap = memory / "memory.memsw.limit_in_bytes"
    if with_swap.exists():
        with_swap.write_text(str(memory_bytes))
    (pids / "pids.max").write_text(str(processes))
    return Cgroup(version=1, memory=memory, pids=pids)


def parents(root: Path = ROOT) -> tuple[Path, ...]:
    """Return the folders that exist and in which `make_cgroup` makes groups."""
    if (root / "cgroup.controllers").exists():
        candidates = [root / PARENT]
    else:
        candidates = [root / name / _own_path(name) / PARENT for name in ("memory", "pids")]
    return tuple(folder for folder in candidates if folder.is_dir())


def _own_path(controller: str) -> str:
    """Return this process's path within a version 1 hierarchy, without the leading slash."""
    table = Path(f"/proc/{os.getpid()}/cgroup")
    for line in table.read_text().splitlines() if table.exists() else ():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            return path.lstrip("/")
    return ""
