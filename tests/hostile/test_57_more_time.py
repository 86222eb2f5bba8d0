"""Attack 57: get more time than the limits give.

A limit ends later where neighbours take the processors. A submission may play its own neighbour, or
spend its time where no call counts it.
"""

import time
from dataclasses import replace

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


@pytest.mark.parametrize("how", ["in_processes", "in_ending_threads"])
def test_its_own_load_gives_a_submission_no_time(
    target: LoadedAssignment, sandboxes: SandboxPool, how: str
) -> None:
    limits = target.plan.limits
    submission = submission_of(BURN.replace("{how}", how))
    with sandboxes.borrow() as sandbox, open_session(sandbox, submission, limits=limits) as session:
        session.load()
        begin = time.monotonic()
        with pytest.raises(Stopped, match="time limit"):
            session.call(Call("scale", 1.0, 2.0))
        # Four times the limit is what a neighbour outside would give.
        assert time.monotonic() - begin < 2.5 * limits.call_wall_s


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
