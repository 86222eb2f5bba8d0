"""Removes what killed runs have left behind.

A run that is killed with SIGKILL cannot clean up. So everything that it makes outside its own
memory carries the name of its process, and the next run removes what belongs to a process that has
ended. Containers are removed in `sandbox.docker`; processes end by themselves when the judge's
sockets close.
"""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from grader.sandbox.cgroup import parents

FOLDER_KINDS = ("bwrap", "docker", "none", "secret")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def owner() -> str:
    """Return a name for this process that no other process on this machine ever has.

    Three hexadecimal numbers: pid namespace, pid, start time in clock ticks since boot.
    """
    return f"{_namespace():x}.{os.getpid():x}.{_started_ticks(os.getpid()):x}"


def folder_prefix(kind: str) -> str:
    """Return the prefix for a temporary folder of this process; `kind` is in `FOLDER_KINDS`."""
    return f"grader-{kind}-{owner()}-"


def boot() -> str:
    """Return the id of this boot of this machine; empty if the system has none."""
    return _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else ""


def is_gone(name: str) -> bool:
    """Return whether the process that `owner` named has ended; false if that is unknown."""
    try:
        namespace, pid, started = (int(number, 16) for number in name.split("."))
    except ValueError:
        return False
    if not namespace or namespace != _namespace():
        return False  # in another container, or a system without /proc
    return _started_ticks(pid) != started


def remove_stale() -> None:
    """Remove folders and cgroups of runs that have ended; skip those that cannot be removed."""
    for folder in Path(tempfile.gettempdir()).glob("grader-*"):
        _, kind, name, *_ = (*folder.name.split("-"), "")
        if kind in FOLDER_KINDS and is_gone(name) and _is_ours(folder):
            shutil.rmtree(folder, ignore_errors=True)
    for parent in parents():
        for cgroup in parent.glob("*-*"):
            if is_gone(cgroup.name.split("-")[0]):
                with contextlib.suppress(OSError):  # its last process may still be ending
                    cgroup.rmdir()


def _is_ours(folder: Path) -> bool:
    """Return whether this user owns it: in a shared folder, anyone can make one of that name."""
    with contextlib.suppress(OSError):
        return folder.lstat().st_uid == os.geteuid()
    return False


def _namespace() -> int:
    path = Path("/proc/self/ns/pid")
    return path.stat().st_ino if path.exists() else 0


def _started_ticks(pid: int) -> int:
    """Return when a process started; 0 if there is none.

    Source: field 22 of /proc/PID/stat, proc_pid_stat(5).
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    state, *fields = text.rpartition(")")[2].split()
    return 0 if state in "ZX" else int(fields[18])
