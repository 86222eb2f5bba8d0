"""What one child has used, read from outside: processor time, peak memory, bytes on the wire.

Takes: its control group and its pid as the judge sees it. Gives: `Meter`. Does not cover: time on
the judge's clock (see `worker.channel`).
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
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
        traffic_bytes: bytes received by any process in the child's network namespace.
    """

    cpu_ns: int
    peak_bytes: int
    traffic_bytes: int


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
        self._wire_fd = open_traffic_counter(host_pid) if group is not None else -1
        self.counts = group is not None

    def read(self) -> Usage:
        """Return the readings; zeros where nothing counts.

        Raises:
            SandboxError: if the kernel does not tell.
        """
        if self._group is None:
            return Usage(cpu_ns=0, peak_bytes=0, traffic_bytes=0)
        return Usage(
            cpu_ns=self._group.cpu_ns(),
            peak_bytes=self._group.peak_bytes(),
            traffic_bytes=traffic_bytes(self._wire_fd),
        )

    def close(self) -> None:
        """Let go of what is open."""
        if self._wire_fd >= 0:
            os.close(self._wire_fd)
            self._wire_fd = -1

    def oom_kills(self) -> int:
        """Return how many of the child's processes the kernel ended for want of memory."""
        return self._group.oom_kills() if self._group else 0


def open_traffic_counter(pid: int, proc: Path = Path("/proc")) -> int:
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


def traffic_bytes(fd: int) -> int:
    """Return the bytes received on all interfaces since they are there; 0 if none are counted.

    What goes over loopback is received once per byte sent. Nothing inside can reset it. Of each
    line, the first figure after the name counts.
    """
    if fd < 0:
        return 0
    lines = os.pread(fd, _NET_DEV_BYTES, 0).decode().splitlines()[2:]
    return sum(int(line.partition(":")[2].split()[0]) for line in lines)


BURST_BYTES = 256 << 10
"""More than one packet of the loopback, whose segments are up to 64 KiB."""
QUEUE_BYTES = 64 << 20
"""What may wait: nothing is dropped, or TCP would send it twice."""
SECONDS = 10.0


@contextlib.contextmanager
def limited_network(host_pid: int, bytes_per_s: int) -> Iterator[None]:
    """Hold the loopback that `host_pid` sees to a rate, until the block ends.

    Source: tc-tbf(8), a token bucket filter.

    Raises:
        SandboxError: if this machine, or this user, cannot.
    """
    rate = ("rate", f"{8 * bytes_per_s}bit")
    bucket = ("burst", str(BURST_BYTES), "limit", str(QUEUE_BYTES))
    _tc(host_pid, "replace", "dev", "lo", "root", "tbf", *rate, *bucket)
    try:
        yield
    finally:
        with contextlib.suppress(SandboxError):  # the namespace may have gone with its ranks
            _tc(host_pid, "del", "dev", "lo", "root")


def _tc(host_pid: int, *arguments: str) -> None:
    programs = [shutil.which(name) for name in ("nsenter", "tc")]
    if None in programs:
        raise SandboxError(
            "a wire of a given rate needs the programs nsenter and tc",
            hint="apt-get install util-linux iproute2",
        )
    enter, tc = (str(program) for program in programs)
    command = [enter, f"--net=/proc/{host_pid}/ns/net", tc, "qdisc", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SandboxError(f"the wire could not be held to a rate: {error}") from error
    if done.returncode:
        raise SandboxError(
            f"the wire could not be held to a rate: {done.stderr.strip()}",
            hint="grade as root, on a kernel with the tbf scheduler",
        )
