"""What the whole machine did meanwhile: the outside evidence by which disturbed forks are known.

Takes: the kernel's counters. Gives: `Reading`. Does not cover: which forks are left out (see
`performance.decide.totals`).
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

_STAT = Path("/proc/stat")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Counters of the machine and of the judge at one moment, nanoseconds.

    Attributes:
        now_ns: the judge's clock.
        busy_ns: processor time of everything on the machine.
        stolen_ns: processor time that the hypervisor gave to others.
        judge_ns: processor time of the judge's own process.
    """

    now_ns: int
    busy_ns: int
    stolen_ns: int
    judge_ns: int


def read_processors(path: Path = _STAT) -> Reading:
    """Return the counters now; where the system has none, the machine's are zeros.

    Source: the first line of /proc/stat, proc_stat(5): user, nice, system, idle, iowait, irq,
    softirq, steal, in clock ticks.
    """
    busy_ns = stolen_ns = 0
    if path.exists():
        ticks = [int(word) for word in path.read_text().split("\n", 1)[0].split()[1:9]]
        tick_ns = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
        user, nice, system, _, _, irq, softirq, steal = ticks
        busy_ns = (user + nice + system + irq + softirq) * tick_ns
        stolen_ns = steal * tick_ns
    return Reading(
        now_ns=time.perf_counter_ns(),
        busy_ns=busy_ns,
        stolen_ns=stolen_ns,
        judge_ns=time.process_time_ns(),
    )


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
