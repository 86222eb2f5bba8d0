"""Meters that read one child's CPU time, peak memory and network traffic from outside.

`limited_network` limits the rate of the network between ranks. Time on the judge's clock is
measured in `worker.channel`.
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
from grader.sandbox.processors import read_threads

BURST_BYTES = 256 << 10
"""More than one packet of the loopback, whose segments have up to 64 KiB."""
QUEUE_BYTES = 64 << 20
"""So large that nothing is dropped; TCP would send it again."""
TC_SECONDS = 10.0
_NET_DEV_BYTES = 1 << 14  # enough: a sandbox's namespace has little more than a loopback


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Readings of all meters; the difference of two is what was used in between.

    Attributes:
        cpu_ns: CPU time of all of the child's processes and threads, including ended ones.
        peak_bytes: the most memory that they used together at any time since the fork.
        traffic_bytes: bytes received by all processes in the child's network namespace.
        ran_ns: the part of `cpu_ns` that threads used which still live.
        queued_ns: time that those threads were ready and waited for a processor, summed.
    """

    cpu_ns: int
    peak_bytes: int
    traffic_bytes: int
    ran_ns: int = 0
    queued_ns: int = 0


class Meter:
    """Reads one child's meters; made before the child loads the submission.

    Attributes:
        counts: whether there are any; a child without a cgroup has none.

    Raises:
        SandboxError: if one cannot be read.
    """

    def __init__(self, cgroup: Cgroup | None, host_pid: int) -> None:
        self._cgroup = cgroup
        self._traffic_fd = open_traffic_counter(host_pid) if cgroup is not None else -1
        self.counts = cgroup is not None

    def read(self) -> Usage:
        """Return the readings; zeros if there are no meters.

        Raises:
            SandboxError: if one cannot be read.
        """
        if self._cgroup is None:
            return Usage(cpu_ns=0, peak_bytes=0, traffic_bytes=0)
        threads = read_threads(self._cgroup.members())
        return Usage(
            ran_ns=threads.ran_ns,
            queued_ns=threads.waited_ns,
            cpu_ns=self._cgroup.cpu_ns(),
            peak_bytes=self._cgroup.peak_bytes(),
            traffic_bytes=traffic_bytes(self._traffic_fd),
        )

    def close(self) -> None:
        """Close what is open; twice is no error."""
        if self._traffic_fd >= 0:
            os.close(self._traffic_fd)
            self._traffic_fd = -1

    def oom_kills(self) -> int:
        """Return how many of the child's processes Linux killed because memory ran out."""
        return self._cgroup.oom_kills() if self._cgroup else 0


def open_traffic_counter(pid: int, proc: Path = Path("/proc")) -> int:
    """Return a descriptor of the counters of `pid`'s network namespace; −1 without `/proc`.

    It stays valid when the process's first thread ends, so other threads are still metered.
    Source: /proc/PID/net/dev, proc_pid_net(5).

    Raises:
        SandboxError: if the process has ended, or this user has no right to read them.
    """
    if not proc.exists():
        return -1
    try:
        return os.open(proc / str(pid) / "net/dev", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise SandboxError(f"the network counters could not be read: {error}") from error


def traffic_bytes(fd: int) -> int:
    """Return the bytes received so far on all interfaces; 0 if `fd` is −1.

    On a loopback, each sent byte is received once. Nothing inside can reset the counters. The bytes
    are the first number of each line, after the name of the interface.
    """
    if fd < 0:
        return 0
    lines = os.pread(fd, _NET_DEV_BYTES, 0).decode().splitlines()[2:]
    return sum(int(line.partition(":")[2].split()[0]) for line in lines)


@contextlib.contextmanager
def limited_network(host_pid: int, bytes_per_s: int) -> Iterator[None]:
    """Limit the rate of `host_pid`'s loopback until the block ends.

    Source: tc-tbf(8), a token bucket filter.

    Raises:
        SandboxError: if this machine or this user cannot do it.
    """
    rate = ("rate", f"{8 * bytes_per_s}bit")
    bucket = ("burst", str(BURST_BYTES), "limit", str(QUEUE_BYTES))
    _tc(host_pid, "replace", "dev", "lo", "root", "tbf", *rate, *bucket)
    try:
        yield
    finally:
        with contextlib.suppress(SandboxError):  # the namespace may have ended with its ranks
            _tc(host_pid, "del", "dev", "lo", "root")


def _tc(host_pid: int, *arguments: str) -> None:
    programs = [shutil.which(name) for name in ("nsenter", "tc")]
    if None in programs:
        raise SandboxError(
            "limiting the rate of the network needs the programs nsenter and tc",
            hint="apt-get install util-linux iproute2",
        )
    enter, tc = (str(program) for program in programs)
    command = [enter, f"--net=/proc/{host_pid}/ns/net", tc, "qdisc", *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TC_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SandboxError(f"the rate of the network could not be limited: {error}") from error
    if done.returncode:
        raise SandboxError(
            f"the rate of the network could not be limited: {done.stderr.strip()}",
            hint="grade as root, on a Linux that has the tbf queueing discipline",
        )
