"""Counters of Linux: the processor time of the machine, and what single threads waited for it."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Counters of the machine and of the grader's own process at one moment, in nanoseconds.

    Attributes:
        now_ns: the grader's clock.
        busy_ns: processor time of everything on the machine.
        stolen_ns: processor time that the hypervisor gave to other virtual machines.
        judge_ns: processor time of the grader's own process.
    """

    now_ns: int
    busy_ns: int
    stolen_ns: int
    judge_ns: int


def read_processors(path: Path = Path("/proc/stat")) -> Reading:
    """Return the counters now; on a system without `/proc/stat`, the machine's counters are 0.

    Source: proc_stat(5), first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq,
    steal, in clock ticks.
    """
    busy_ns = stolen_ns = 0
    if path.exists():
        with path.open(encoding="ascii") as lines:
            ticks = [int(word) for word in next(lines).split()[1:9]]
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadTimes:
    """What the threads of some processes had of the processors, and what they waited for."""

    ran_ns: int
    waited_ns: int


def read_threads(pids: Sequence[int], proc: Path = Path("/proc")) -> ThreadTimes:
    """Return the sums over all threads that run now; a process that has ended counts 0.

    Source: Documentation/scheduler/sched-stats.rst of Linux, /proc/PID/schedstat: time spent on
    the processor and time spent waiting on a run queue, both in nanoseconds.
    """
    ran_ns = waited_ns = 0
    for pid in pids:
        for path in proc.glob(f"{pid}/task/*/schedstat"):
            try:
                ran, waited, _ = path.read_text(encoding="ascii").split()
            except (OSError, ValueError):  # the thread has ended, or this kernel does not count
                continue
            ran_ns += int(ran)
            waited_ns += int(waited)
    return ThreadTimes(ran_ns=ran_ns, waited_ns=waited_ns)
