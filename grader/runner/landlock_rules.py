"""Which files a submission may touch, and that it reaches no process outside its own tree.

Takes: paths. Gives: `restrict_files`, `restrict_scope`. Does not cover: system calls (see
`runner.seccomp_rules`).
"""

import ctypes
import os
import struct
from collections.abc import Sequence, Set

import landlock

_SYS_LANDLOCK_CREATE_RULESET = 444
_SYS_LANDLOCK_ADD_RULE = 445
_SYS_LANDLOCK_RESTRICT_SELF = 446
_RULE_PATH_BENEATH = 1
_SCOPE_ABSTRACT_UNIX_SOCKET, _SCOPE_SIGNAL = 1, 2
SCOPE_ABI = 6
"""Landlock ABI that brought scopes (Linux 6.12)."""
TRUNCATE_ABI, IOCTL_ABI = 3, 5
"""Landlock ABIs that began to restrict truncation, and ioctl on devices (Linux 6.2 and 6.10)."""

_READ = landlock.FSAccess.READ_FILE | landlock.FSAccess.READ_DIR | landlock.FSAccess.EXECUTE
_FILE_READ_WRITE = landlock.FSAccess.READ_FILE | landlock.FSAccess.WRITE_FILE


def abi_version() -> int:
    """Return the Landlock ABI of this kernel, 0 if it has none."""
    ctypes.set_errno(0)
    try:
        return int(landlock.landlock_abi_version())
    except (OSError, landlock.LandlockError):
        return 0
    finally:
        ctypes.set_errno(0)


def restrict_files(
    readable: Sequence[str],
    writable: Sequence[str],
    devices: Sequence[str],
    controlled: Sequence[str] = (),
    hidden: Sequence[str] = (),
) -> None:
    """Allow reading and running below `readable`, everything below `writable`, nothing else.

    Args:
        readable: folders or files; those that do not exist are left out.
        writable: folders.
        devices: files, or folders of files, that may be read and written.
        controlled: devices that may also be asked things by ioctl, as every GPU is.
        hidden: folders below `readable` of which no file may be read; their names may.
    """
    ctypes.set_errno(0)
    rules = landlock.Ruleset()
    buried = {os.path.realpath(path) for path in hidden}
    for path in readable:
        _allow_reading(rules, path, buried)
    for path in writable:
        rules.allow(path)
    used = _FILE_READ_WRITE
    if abi_version() >= TRUNCATE_ABI:  # before, neither was restricted
        used |= landlock.FSAccess.TRUNCATE
    asked = used
    if abi_version() >= IOCTL_ABI:
        asked |= landlock.FSAccess.IOCTL_DEV
    allowed = [(path, used) for path in devices] + [(path, asked) for path in controlled]
    for path, access in allowed:
        if os.path.exists(path):
            rules.allow(path, rules=access)
    ctypes.set_errno(0)
    rules.apply()
    os.close(rules._fd)  # the binding leaves it open


def _allow_reading(rules: landlock.Ruleset, path: str, hidden: Set[str]) -> None:
    """Allow reading and running below a path, but of nothing below hidden folders."""
    parts = beside(path, hidden)
    if parts != [path]:  # whoever imports lists the folder
        rules.allow(path, rules=landlock.FSAccess.READ_DIR)
    for part in parts:
        if os.path.isdir(part):
            rules.allow(part, rules=_READ)
        elif os.path.exists(part):
            rules.allow(part, rules=landlock.FSAccess.READ_FILE)


def beside(path: str, hidden: Set[str]) -> list[str]:
    """Return what lies below a path beside hidden folders, as a rule allows all below a folder.

    Args:
        path: a folder or file; returned as it is if it holds none of them.
        hidden: real paths of folders.
    """
    top = os.path.realpath(path)
    if not _holds_any(top, hidden):
        return [path]
    if top in hidden:
        return []
    parts: list[str] = []
    with os.scandir(top) as entries:
        for entry in entries:
            if not entry.is_symlink():
                parts += (
                    beside(entry.path, hidden) if _holds_any(entry.path, hidden) else [entry.path]
                )
            elif not _holds_any(os.path.realpath(entry.path), hidden):  # else split where it lies
                parts.append(entry.path)
    return parts


def _holds_any(top: str, hidden: Set[str]) -> bool:
    return any(f"{folder}/".startswith(f"{top}/") for folder in hidden)


def restrict_scope(writable: Sequence[str]) -> None:
    """Cut signals and abstract sockets off from everything outside this Landlock domain.

    The `landlock` package has no field for scopes yet, hence a second layer by system call. Every
    layer denies moving files between folders unless a rule of its own allows it, so this one does.

    Args:
        writable: folders in which files may be moved.

    Source: struct landlock_ruleset_attr {fs, net, scoped} and landlock_path_beneath_attr,
    linux/landlock.h; LANDLOCK_ACCESS_FS_REFER, Documentation/userspace-api/landlock.rst.
    """
    libc = ctypes.CDLL(None, use_errno=True)

    def call(what: str, number: int, *arguments: object) -> int:
        result = int(libc.syscall(number, *arguments))
        if result < 0:
            raise OSError(ctypes.get_errno(), f"landlock scope: {what}")
        return result

    refer = int(landlock.FSAccess.REFER)
    attributes = struct.pack("QQQ", refer, 0, _SCOPE_ABSTRACT_UNIX_SOCKET | _SCOPE_SIGNAL)
    rules = call("create_ruleset", _SYS_LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)
    for path in writable:
        folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
        beneath = struct.pack("=Qi", refer, folder)
        call("add_rule", _SYS_LANDLOCK_ADD_RULE, rules, _RULE_PATH_BENEATH, beneath, 0)
        os.close(folder)
    call("restrict_self", _SYS_LANDLOCK_RESTRICT_SELF, rules, 0)
    os.close(rules)
