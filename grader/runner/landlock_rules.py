"""Landlock rules: the files a submission may use, and no signals to processes outside its own.

System calls are restricted in `runner.seccomp_rules`.
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
    """Return the Landlock ABI of this Linux, 0 if it has none."""
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
    """Allow reading and executing below `readable`, everything below `writable`, nothing else.

    Args:
        readable: folders or files; those that do not exist are skipped.
        writable: folders.
        devices: files, or folders of files, that may be read and written.
        controlled: devices that also allow ioctl, which a GPU needs.
        hidden: folders below `readable` whose files may not be read; their names may.
    """
    ctypes.set_errno(0)
    rules = landlock.Ruleset()
    hidden_paths = {os.path.realpath(path) for path in hidden}
    for path in readable:
        _allow_reading(rules, path, hidden_paths)
    for path in writable:
        rules.allow(path)
    read_write = _FILE_READ_WRITE
    if abi_version() >= TRUNCATE_ABI:  # older ABIs restrict neither
        read_write |= landlock.FSAccess.TRUNCATE
    with_ioctl = read_write
    if abi_version() >= IOCTL_ABI:
        with_ioctl |= landlock.FSAccess.IOCTL_DEV
    allowed = [(path, read_write) for path in devices]
    allowed += [(path, with_ioctl) for path in controlled]
    for path, access in allowed:
        if os.path.exists(path):
            rules.allow(path, rules=access)
    ctypes.set_errno(0)
    rules.apply()
    os.close(rules._fd)  # the binding leaves it open


def _allow_reading(rules: landlock.Ruleset, path: str, hidden: Set[str]) -> None:
    """Allow reading and executing below a path, except below hidden folders."""
    parts = beside(path, hidden)
    if parts != [path]:  # an import lists the folder
        rules.allow(path, rules=landlock.FSAccess.READ_DIR)
    for part in parts:
        if os.path.isdir(part):
            rules.allow(part, rules=_READ)
        elif os.path.exists(part):
            rules.allow(part, rules=landlock.FSAccess.READ_FILE)


def beside(path: str, hidden: Set[str]) -> list[str]:
    """Return paths that together cover all below `path` except hidden folders.

    They are needed because a Landlock rule always allows everything below a folder.

    Args:
        path: a folder or file; returned unchanged if no hidden folder is below it.
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
            elif not _holds_any(os.path.realpath(entry.path), hidden):  # else its target is split
                parts.append(entry.path)
    return parts


def _holds_any(top: str, hidden: Set[str]) -> bool:
    return any(f"{folder}/".startswith(f"{top}/") for folder in hidden)


def restrict_scope(writable: Sequence[str]) -> None:
    """Forbid signals and abstract sockets to anything outside this Landlock domain.

    The `landlock` package has no field for scopes yet, so a second layer is made by system calls.
    Every layer forbids moving files between folders unless it has a rule for it, so this one has.

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
