"""One child of a fork server as the judge sees it, and the steps until it is ready.

`sandbox.sandbox` forks and ends it.
"""

import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

from grader.errors import ChannelClosed, ChannelError, SandboxError
from grader.runner import protocol
from grader.sandbox.cgroup import Cgroup
from grader.sandbox.meter import Meter

READY_SECONDS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildProcess:
    """One confined process, before it has seen the submission.

    Attributes:
        pid: as the fork server sees it.
        host_pid: as the judge sees it.
        exit_fd: becomes readable when it ends; −1 if this system has no such descriptor.
        channel: the judge's end of its socket.
        output_fd: the reading end of its stdout and stderr.
        stack_fd: the reading end of a rank's stack traces; −1 if it is no rank.
    """

    pid: int
    host_pid: int
    exit_fd: int
    channel: socket.socket
    output_fd: int
    meter: Meter
    stack_fd: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """The position of a child in a process group.

    Attributes:
        size: number of ranks; 0 if the child is no rank.
        is_pinned: whether it is pinned to one CPU, with a higher CPU weight. Otherwise more
            threads, or other processes on the machine, would hide the communication that is timed.
    """

    rank: int = 0
    size: int = 0
    is_pinned: bool = False


NO_RANK = Member()


def enter_cgroup(cgroup: Cgroup | None, host_pid: int) -> str:
    """Move a child into its cgroup, if it has one; return the name of the layer that limits it."""
    if cgroup is None:
        return "memory and processes limited per process (rlimits; no cgroup)"
    cgroup.enter(host_pid)
    weight = ", with a higher CPU weight" if cgroup.high_weight else ""
    return f"memory and processes limited by a cgroup (version {cgroup.version}){weight}"


def close_all(*fds: int) -> None:
    """Close descriptors; −1 means none."""
    for fd in fds:
        if fd >= 0:
            os.close(fd)


def pass_credentials(channel: socket.socket, wanted: bool) -> None:
    """Make Linux attach the sender's pid to every message, or stop it."""
    channel.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, int(wanted))


def await_ready(channel: socket.socket, log: Callable[[], str]) -> tuple[int, tuple[str, ...]]:
    """Return the child's pid as the judge sees it, and the names of its layers of confinement.

    The pid comes from Linux, not from the child (SCM_CREDENTIALS), translated into our namespace.

    Raises:
        SandboxError: if the child ends instead.
    """
    channel.settimeout(READY_SECONDS)
    space = socket.CMSG_SPACE(struct.calcsize("3i"))
    try:
        head, ancillary, _, _ = channel.recvmsg(4, space)
        if not head:
            raise ChannelClosed("closed")
        rest = protocol.check_length(int.from_bytes(head, "big"))
        body = channel.recv(rest, socket.MSG_WAITALL)
        layers = tuple(str(layer) for layer in protocol.parse(body)["ready"])
    except (protocol.ProtocolError, OSError, KeyError, ChannelError) as error:
        raise SandboxError(f"a child could not be confined ({error})", hint=log()) from error
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
            return struct.unpack("3i", content)[0], layers
    raise SandboxError("Linux did not report the pid of a child process")
