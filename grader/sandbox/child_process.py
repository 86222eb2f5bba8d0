"""One child of a wall, and how the judge gets to know it.

Takes: the judge's end of a fresh child's socket. Gives: `ChildProcess`, `Member`, `await_ready`,
`enter_cgroup`. Does not cover: forking and ending it (see `sandbox.sandbox`).
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
        pid: as the warm process sees it.
        host_pid: as the judge sees it.
        exit_fd: becomes readable when it ends; −1 where this system has no such descriptor.
        channel: the judge's end of its socket.
        output_fd: the reading end of its stdout and stderr.
        layers: what its jail says holds.
        meter: what it uses, read from outside.
        stack_fd: the reading end of where a rank's stack goes; −1 for what is no rank.
    """

    pid: int
    host_pid: int
    exit_fd: int
    channel: socket.socket
    output_fd: int
    layers: tuple[str, ...]
    meter: Meter
    stack_fd: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """Which rank of which world a child is; of no world if `size` is 0.

    `stays` on one processor and goes first there, if more threads, or what others run, would hide
    what the world is timed for.
    """

    rank: int = 0
    size: int = 0
    stays: bool = False


ALONE = Member()


def enter_cgroup(group: Cgroup | None, host_pid: int) -> str:
    """Put a child under its control group, if it has one; return what limits it."""
    if group is None:
        return "memory and processes limited per process (rlimits; no control group)"
    group.enter(host_pid)
    before = ", which goes before what others run" if group.first else ""
    return f"memory and processes limited by a control group (version {group.version}){before}"


def close_all(*fds: int) -> None:
    """Close descriptors; −1 stands for none."""
    for fd in fds:
        if fd >= 0:
            os.close(fd)


def name_senders(channel: socket.socket, wanted: bool) -> None:
    """Let the kernel attach the sender's pid to every message, or stop doing so."""
    channel.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, int(wanted))


def await_ready(channel: socket.socket, log: Callable[[], str]) -> tuple[int, tuple[str, ...]]:
    """Return the child's pid as the judge sees it, and what its jail says holds.

    The kernel, not the child, names the pid (SCM_CREDENTIALS), translated into our namespace.

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
        raise SandboxError(f"a child could not be confined ({error})", hint=log()[-800:]) from error
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
            return struct.unpack("3i", content)[0], layers
    raise SandboxError("the kernel did not name the child's process")
