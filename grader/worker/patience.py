"""A time limit that neighbours do not shorten.

A limit in seconds is meant for a machine that has a processor free for the submission. Where other
processes take the processors, a call waits for one, and its limit ends later by what it waited: by
what Linux says that its threads waited, at most what everything outside its cgroup computed
meanwhile. So a submission gains nothing by keeping its own threads, or processes that it starts,
waiting for one another.
"""

import os
import time
from collections.abc import Sequence

from grader.assignment.table import Limits
from grader.errors import CallTimeout, MachineBusy, SandboxError
from grader.sandbox.meter import Meter
from grader.sandbox.processors import Reading, read_processors

MOST_LATER = 3.0
"""A limit ends later by at most so many times itself: an endless call must end some time."""
UNWATCHED_PART = 0.125
"""No counter is read in this part of a limit: most calls return before, and cost nothing more."""
LEAST_WAIT_S = 0.05
"""Seconds until the counters are read again, once the plain limit is over."""


class Deadline:
    """When a call's time is over; later, if others took the processors from it.

    Args:
        limit_s: seconds that the call may take where a processor is free for it.
        meters: of the processes that answer the call; where nothing is counted, nothing is later.
        begin_s: when it began, on the clock of `time.perf_counter`.

    Attributes:
        too_busy: whether others took so much that the call may have had less than its limit: when
            its time is over, nobody can tell whether it is too slow.
    """

    def __init__(self, limit_s: float, meters: Sequence[Meter], begin_s: float) -> None:
        self._limit_s = limit_s
        self._meters = meters
        self._begin_s = begin_s
        self._first: _Counters | None = None
        self.too_busy = False

    def wait_s(self) -> float:
        """Return how long to wait before asking again; 0 if the time is over."""
        now_s = time.perf_counter()
        if self._first is None:
            unwatched_s = self._begin_s + UNWATCHED_PART * self._limit_s - now_s
            if unwatched_s > 0:
                return unwatched_s
            self._first = self._read()
        left_s = self._begin_s + self._limit_s - now_s
        if left_s <= 0:
            left_s += self.lost_ns() / 1e9
        return max(left_s, LEAST_WAIT_S) if left_s > 0 else 0.0

    def lost_ns(self) -> int:
        """Return the time so far in which others kept a processor from the call."""
        if self._first is None:
            return 0
        machine, cpu_ns, queued_ns = self._first
        machine_now, cpu_now_ns, queued_now_ns = self._read()
        if not cpu_now_ns:  # nothing is counted
            return 0
        waited_ns = max(queued_now_ns - queued_ns, 0)
        others_ns = max(machine_now.busy_ns - machine.busy_ns - (cpu_now_ns - cpu_ns), 0)
        # Linux counts no waiting while the hypervisor runs other machines.
        stolen_ns = (machine_now.stolen_ns - machine.stolen_ns) // (os.cpu_count() or 1)
        most_ns = round(MOST_LATER * self._limit_s * 1e9)
        lost_ns = min(waited_ns, others_ns) + stolen_ns
        self.too_busy = lost_ns >= most_ns > 0
        return min(lost_ns, most_ns)

    def error(self) -> CallTimeout:
        """Return the error of a call whose time is over."""
        if self.too_busy:
            return MachineBusy("others had the processors")
        return CallTimeout("no reply within the limit")

    def _read(self) -> "_Counters":
        try:
            used = [meter.read() for meter in self._meters]
        except SandboxError:  # it has ended; whoever asks it next finds out why
            used = []
        cpu_ns, queued_ns = sum(one.cpu_ns for one in used), sum(one.queued_ns for one in used)
        return read_processors(), cpu_ns, queued_ns


class CompileAllowance:
    """Time that one process has beyond its limits, for compiling; what a call takes of it is gone.

    Args:
        limits: of the process; `compile_wall_s` is the allowance.
        compiles: whether the submission names a compiler; else there is no allowance.
    """

    def __init__(self, limits: Limits, *, compiles: bool) -> None:
        self.left_s = limits.compile_wall_s if compiles else 0.0
        self.note = f", of which {limits.compile_wall_s:g} s are for compiling" if compiles else ""

    def spend(self, charged_ns: int, limit_s: float) -> int:
        """Take from the allowance what a call took beyond `limit_s`; return it, in ns."""
        over_ns = round(min(max(charged_ns - limit_s * 1e9, 0.0), self.left_s * 1e9))
        self.left_s -= over_ns / 1e9
        return over_ns


_Counters = tuple[Reading, int, int]
"""Of the machine, and of the call: nanoseconds that it computed, and that it waited."""
