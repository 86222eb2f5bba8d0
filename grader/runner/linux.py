"""The few system calls that Python's standard library lacks, through ctypes.

`runner.confinement` calls them in the right order.

Source: numbers and structures from linux/sched.h, linux/prctl.h, linux/capability.h, linux/if.h.
"""

import ctypes
import errno
import fcntl
import os
import socket
import struct

CLONE_NEWNS = 0x0002_0000
CLONE_NEWUTS = 0x0400_0000
CLONE_NEWIPC = 0x0800_0000
CLONE_NEWPID = 0x2000_0000
CLONE_NEWNET = 0x4000_0000

_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REC, _MS_PRIVATE = 2, 4, 8, 0x4000, 0x4_0000
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP = 1, 4, 24
_PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
_CAPABILITY_VERSION_3 = 0x2008_0522
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1

_MADV_POPULATE_READ = 22  # linux/mman.h, since Linux 5.14

_libc = ctypes.CDLL(None, use_errno=True)
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        ctypes.set_errno(0)  # the landlock binding would take a stale number for its own error
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def unshare(flags: int) -> None:
    """Enter new namespaces, named by `flags`; a new pid namespace begins with the next fork."""
    _checked(_libc.unshare(flags), "unshare")


def setns(fd: int, flags: int) -> None:
    """Enter the namespace behind `fd`."""
    _checked(_libc.setns(fd, flags), "setns")


def make_mounts_private() -> None:
    """Hide the mounts that follow from every other mount namespace."""
    _checked(_libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None), "mount private")


def mount_tmpfs(path: str, *, size_bytes: int, mode: int) -> None:
    """Mount an empty memory file system of at most `size_bytes` over `path`."""
    options = f"size={size_bytes},mode={mode:o}".encode()
    flags = _MS_NOSUID | _MS_NODEV
    _checked(_libc.mount(b"tmpfs", path.encode(), b"tmpfs", flags, options), f"mount {path}")


def mount_proc(path: str) -> None:
    """Mount the process file system of this pid namespace over `path`."""
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    _checked(_libc.mount(b"proc", path.encode(), b"proc", flags, None), f"mount {path}")


def bring_loopback_up() -> None:
    """Set the `lo` interface of this network namespace up."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sH14x", b"lo", 0)
        (flags,) = struct.unpack_from("H", fcntl.ioctl(sock, _SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


def populate_for_reading(address: int, length: int) -> bool:
    """Read a mapping's pages into memory; return whether this Linux can do it."""
    done = _libc.madvise(address, length, _MADV_POPULATE_READ) == 0
    known = ctypes.get_errno() != errno.EINVAL  # EFAULT, for a file that was cut short, is no error
    ctypes.set_errno(0)
    return done or known


def die_with_parent() -> None:
    """Have this process killed when the thread that forked it ends."""
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, 9, 0, 0, 0), "prctl pdeathsig")


def set_undumpable() -> None:
    """Hide this process's memory and `/proc` entries from others of its uid."""
    _checked(_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl dumpable")


def set_no_new_privileges() -> None:
    """Prevent every later exec from gaining privileges."""
    _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl no_new_privs")


def drop_capabilities() -> None:
    """Give up every capability, including those that a later exec could regain."""
    for capability in range(64):
        if _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) < 0:
            if ctypes.get_errno() == errno.EPERM and os.geteuid() == 0:
                raise OSError(errno.EPERM, "cannot empty the capability bounding set")
            break  # no more capabilities, or an ordinary uid, which exec gives none
    _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    _checked(_libc.capset(header, bytes(24)), "capset")
    ctypes.set_errno(0)
