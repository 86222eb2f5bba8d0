"""What a killed run could not take with it: named after its owner, removed by the next run.

Takes: nothing. Gives: `owner`, `is_gone`, `remove_stale`. Does not cover: containers (see
`sandbox.docker`); processes, which end by themselves when the judge's sockets close.

A run that is killed with SIGKILL cannot clean up. So everything it makes outside its own memory
carries the name of its process, and whoever grades next removes what belongs to nobody.
"""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from grader.sandbox.cgroup import parents

FOLDER_PREFIXES = ("grader-bwrap-", "grader-docker-", "grader-none-", "grader-secret-")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def owner() -> str:
    """Return a name for this process that no other process on this machine has or will have.

    Three hexadecimal numbers: pid namespace, pid, start time in clock ticks since boot.
    """
    return f"{_namespace():x}.{os.getpid():x}.{_started_ticks(os.getpid()):x}"


def boot() -> str:
    """Return what names this boot of this machine; empty where the system does not tell."""
    return _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else ""


def is_gone(name: str) -> bool:
    """Return whether the process that `owner` named has ended; false where that cannot be told."""
    try:
        namespace, pid, started = (int(number, 16) for number in name.split("."))
    except ValueError:
        return False
    if not namespace or namespace != _namespace():
        return False  # another container's, or a system without /proc
    return _started_ticks(pid) != started


def remove_stale() -> None:
    """Remove folders and control groups whose owners have ended; what resists is left."""
    for folder in Path(tempfile.gettempdir()).glob("grader-*"):
        prefix = next((p for p in FOLDER_PREFIXES if folder.name.startswith(p)), None)
        if prefix and is_gone(folder.name.removeprefix(prefix).split("-")[0]) and _is_ours(folder):
            shutil.rmtree(folder, ignore_errors=True)
    for parent in parents():
        for group in parent.glob("*-*"):
            if is_gone(group.name.split("-")[0]):
                with contextlib.suppress(OSError):  # its last process may still be ending
                    group.rmdir()


def _is_ours(folder: Path) -> bool:
    """Return whether this user made it: anyone may make a folder of that name in a shared one."""
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
