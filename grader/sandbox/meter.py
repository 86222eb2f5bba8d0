"""What one child has used, read from outside: processor time, peak memory, bytes on the wire.

Takes: its control group and its pid as the judge sees it. Gives: `Meter`. Does not cover: time on
the judge's clock (see `measure.channel`).
"""

import os
from dataclasses import dataclass
from pathlib import Path

from grader.errors import SandboxError
from grader.sandbox.cgroup import Cgroup

_NET_DEV_BYTES = 1 << 14  # a namespace of a box has loopback and little else


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Meter readings; differences of two of them mean something.

    Attributes:
        cpu_ns: processor time of all of the child's processes and threads, ended ones too.
        peak_bytes: most memory that they held together at any time since the fork.
        wire_bytes: bytes received by any process in the child's network namespace.
    """

    cpu_ns: int
    peak_bytes: int
    wire_bytes: int


class Meter:
    """Reads one child's meters.

    Attributes:
        counts: whether there are any: without a control group there are not.
    """

    def __init__(self, group: Cgroup | None, host_pid: int) -> None:
        """Open the meters; the child has not seen the submission yet.

        Raises:
            SandboxError: if the kernel does not tell.
        """
        self._group = group
        self._wire_fd = open_wire(host_pid) if group is not None else -1
        self.counts = group is not None

    def read(self) -> Usage:
        """Return the readings; zeros where nothing counts.

        Raises:
            SandboxError: if the kernel does not tell.
        """
        if self._group is None:
            return Usage(cpu_ns=0, peak_bytes=0, wire_bytes=0)
        return Usage(
            cpu_ns=self._group.cpu_ns(),
            peak_bytes=self._group.peak_bytes(),
            wire_bytes=wire_bytes(self._wire_fd),
        )

    def close(self) -> None:
        """Let go of what is open."""
        if self._wire_fd >= 0:
            os.close(self._wire_fd)
            self._wire_fd = -1

    def oom_kills(self) -> int:
        """Return how many of the child's processes the kernel ended for want of memory."""
        return self._group.oom_kills() if self._group else 0


def open_wire(pid: int, proc: Path = Path("/proc")) -> int:
    """Return a descriptor of the counters of the network namespace of `pid`, −1 without any.

    It outlasts the process: one whose first thread ends, and goes on in another, is still metered.
    Source: /proc/PID/net/dev, proc_pid_net(5).

    Raises:
        SandboxError: if the process has ended, or this user may not look.
    """
    if not proc.exists():
        return -1
    try:
        return os.open(proc / str(pid) / "net/dev", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise SandboxError(f"cannot read the network counters: {error}") from error


def wire_bytes(fd: int) -> int:
    """Return the bytes received on all interfaces since they are there; 0 if none are counted.

    What goes over loopback is received once per byte sent. Nothing inside can reset it. Of each
    line, the first figure after the name counts.
    """
    if fd < 0:
        return 0
    lines = os.pread(fd, _NET_DEV_BYTES, 0).decode().splitlines()[2:]
    return sum(int(line.partition(":")[2].split()[0]) for line in lines)
