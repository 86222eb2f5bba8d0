"""A wire as slow as a network: the loopback of a group, held to a rate by the kernel.

Takes: a process of the group, a rate. Gives: `slowed_wire`. Does not cover: counting what crosses
it (see `sandbox.meter`).

On a bare loopback two ranks on two cores are bound by their processors, and nothing is gained by
sending while one computes. On a wire of a known rate overlap shows, and its cost is known.
"""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator

from grader.errors import SandboxError

BURST_BYTES = 256 << 10
"""More than one packet of the loopback, whose segments are up to 64 KiB."""
QUEUE_BYTES = 64 << 20
"""What may wait: nothing is dropped, or TCP would send it twice."""
SECONDS = 10.0


@contextlib.contextmanager
def slowed_wire(host_pid: int, bytes_per_s: int) -> Iterator[None]:
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
