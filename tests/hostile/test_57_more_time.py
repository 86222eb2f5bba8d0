"""Attack 57: get more time than the limits give.

A limit ends later where neighbours take the processors. A submission may play its own neighbour, or
spend its time where no call counts it.
"""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from grader.assignment.loaded import LoadedAssignment
from grader.assignment.steps import Call
from grader.correctness.run import measure
from grader.evidence.faults import FaultKind, Stopped
from grader.sandbox.pool import SandboxPool
from grader.worker.machine import TimedMachine
from grader.worker.session import open_session
from tests.hostile.conftest import submission_of
from tests.hostile.rank_honest import RANK_HONEST

PROC = Path("/proc")
TICK_S = 1 / os.sysconf("SC_CLK_TCK")

BURN = """
import os, threading

def burn():
    while True:
        pass

def in_processes():
    for _ in range(6):
        if os.fork() == 0:
            burn()

def in_ending_threads():
    def work():
        for _ in range(200_000):
            pass
    def start():
        while True:
            threads = [threading.Thread(target=work) for _ in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    threading.Thread(target=start, daemon=True).start()

def scale(x, factor):
    {how}()
    burn()
"""
SLOW_IMPORT = """
import time
time.sleep(1.0)
"""


class Neighbours:
    """What everything outside a sandbox computed, read from /proc by the test itself.

    `others_s` is processor time since the start, with what the hypervisor took. The sandbox's own
    processes are those in `worker`'s pid namespace (proc_pid_stat(5): utime and stime, and those of
    children that have ended).
    """

    def __init__(self, worker: int) -> None:
        self._namespace = (PROC / str(worker) / "ns/pid").readlink()
        self._start_s = self._outside_s()
        self.others_s = 0.0

    def read(self) -> None:
        self.others_s = max(self.others_s, self._outside_s() - self._start_s)

    def _outside_s(self) -> float:
        ticks = [int(word) for word in (PROC / "stat").read_text().split(maxsplit=9)[1:9]]
        idle = ticks[3] + ticks[4]
        own = sum(self._ticks(path) for path in PROC.glob("[0-9]*"))
        return (sum(ticks) - idle - own) * TICK_S

    def _ticks(self, process: Path) -> int:
        try:
            if (process / "ns/pid").readlink() != self._namespace:
                return 0
            after_name = (process / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            return 0
        return sum(int(word) for word in after_name[11:15])


@contextlib.contextmanager
def neighbours_of(worker: int) -> Iterator[Neighbours]:
    """Watch until the block ends, from a thread: when a worker has ended, its times are gone."""
    neighbours = Neighbours(worker)
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            neighbours.read()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield neighbours
    finally:
        over.set()
        watcher.join()


@pytest.mark.parametrize("how", ["in_processes", "in_ending_threads"])
def test_its_own_load_gives_a_submission_no_time(
    target: LoadedAssignment, sandboxes: SandboxPool, how: str
) -> None:
    limits = target.plan.limits
    submission = submission_of(BURN.replace("{how}", how))
    with sandboxes.borrow() as sandbox, open_session(sandbox, submission, limits=limits) as session:
        session.load()
        begin = time.monotonic()
        with (
            neighbours_of(session._child.host_pid) as neighbours,
            pytest.raises(Stopped, match="time limit"),
        ):
            session.call(Call("scale", 1.0, 2.0))
        elapsed_s = time.monotonic() - begin
        # Time that its own load won would reach four times the limit. What tests beside this one
        # compute is a neighbour's, and rightly ends the limit later.
        assert elapsed_s < 2.5 * limits.call_wall_s + neighbours.others_s


def test_imports_count_towards_the_limit_of_a_problem(
    rank_target: LoadedAssignment, rank_sandboxes: SandboxPool
) -> None:
    """Every world of ranks imports the submission, and no call counts that."""
    limits = replace(rank_target.plan.limits, problem_wall_s=1.5)
    loaded = replace(rank_target, plan=replace(rank_target.plan, limits=limits))
    submission = submission_of(SLOW_IMPORT + RANK_HONEST)
    found = measure(submission, loaded, sandboxes=rank_sandboxes, machine=TimedMachine())
    for problem in found.problems:
        faults = [fault for case in problem.cases for fault in case.faults]
        late = [fault for fault in faults if fault.kind is FaultKind.TIMEOUT]
        assert late, problem.problem
        assert all("longer than its limit of 1.5 s" in fault.message for fault in late)
        assert len(problem.cases) - len(late) <= 2
