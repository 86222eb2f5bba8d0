"""Which files a submission may touch, and that it reaches no process outside its own tree.

Takes: paths. Gives: `restrict_files`, `restrict_scope`. Does not cover: system calls (see
`runner.seccomp_rules`).
"""

import ctypes
import os
import struct
from collections.abc import Sequence

import landlock

_SYS_LANDLOCK_CREATE_RULESET = 444
_SYS_LANDLOCK_RESTRICT_SELF = 446
_SCOPE_ABSTRACT_UNIX_SOCKET, _SCOPE_SIGNAL = 1, 2
SCOPE_ABI = 6
"""Landlock ABI that brought scopes (Linux 6.12)."""

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
    readable: Sequence[str], writable: Sequence[str], devices: Sequence[str]
) -> None:
    """Allow reading and running below `readable`, everything below `writable`, nothing else.

    Args:
        readable: folders or files; those that do not exist are left out.
        writable: folders.
        devices: single files that may be read and written.
    """
    ctypes.set_errno(0)
    rules = landlock.Ruleset()
    for path in readable:
        if os.path.isdir(path):
            rules.allow(path, rules=_READ)
        elif os.path.exists(path):
            rules.allow(path, rules=landlock.FSAccess.READ_FILE)
    for path in writable:
        rules.allow(path)
    for path in devices:
        if os.path.exists(path):
            rules.allow(path, rules=_FILE_READ_WRITE)
    ctypes.set_errno(0)
    rules.apply()
    os.close(rules._fd)  # the binding leaves it open


def restrict_scope() -> None:
    """Cut signals and abstract sockets off from everything outside this Landlock domain.

    The `landlock` package has no field for scopes yet, hence a second layer by system call.
    Source: struct landlock_ruleset_attr {fs, net, scoped}, linux/landlock.h.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    attributes = struct.pack("QQQ", 0, 0, _SCOPE_ABSTRACT_UNIX_SOCKET | _SCOPE_SIGNAL)
    rules = libc.syscall(_SYS_LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)
    if rules < 0:
        raise OSError(ctypes.get_errno(), "landlock scope: create_ruleset")
    if libc.syscall(_SYS_LANDLOCK_RESTRICT_SELF, rules, 0) < 0:
        raise OSError(ctypes.get_errno(), "landlock scope: restrict_self")
    os.close(rules)
