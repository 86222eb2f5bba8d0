"""Ranks on a limited network have one CPU each and a higher CPU weight, and still end in time."""

import os
import time

import pytest

from grader.assignment.loaded import LoadedAssignment
from grader.assignment.steps import Call
from grader.evidence.faults import Stopped
from grader.sandbox.pool import SandboxPool
from grader.worker.ranks.ranks import RankedWorker
from tests.hostile.conftest import submission_of

TEXT = """
import os, threading, torch
def widen(pid):
    try:
        os.sched_setaffinity(pid, range(os.cpu_count()))
        return "set"
    except OSError:
        return "refused"
def seen():
    found = [len(os.sched_getaffinity(0)), widen(0), widen(os.getpid())]
    thread = threading.Thread(target=lambda: found.append(widen(threading.get_native_id())))
    thread.start()
    thread.join()
    torch.set_num_threads(4)
    return [*found, len(os.sched_getaffinity(0))]
"""

SPINS = """
import threading, torch
def burn():
    x = torch.ones(512, 512)
    while True:
        x @ x
def spin():
    for _ in range(12):
        threading.Thread(target=burn, daemon=True).start()
    burn()
"""
SLACK_S = 5.0
"""What the judge may need to end them; it took 0.1 s on two processors, both kept busy."""


@pytest.mark.parametrize("network_rate", [0, 50_000_000])
def test_a_rank_stays_on_one_processor(
    rank_target: LoadedAssignment, rank_sandboxes: SandboxPool, network_rate: int
) -> None:
    submission = submission_of(TEXT)
    with (
        rank_sandboxes.borrow() as sandbox,
        RankedWorker(
            sandbox, submission, limits=rank_target.plan.limits, most=2, network_rate=network_rate
        ) as worker,
    ):
        worker.load()
        worker.world(2)
        found = list(worker.ask(dict.fromkeys(range(2), Call("seen")), None).values())
    cores = len(os.sched_getaffinity(0))
    free = [cores, "set", "refused", "refused", cores]  # the same probe can tell
    assert any("higher CPU weight" in layer for layer in sandbox.layers) == (network_rate > 0)
    assert found == [[1, "refused", "refused", "refused", 1] if network_rate else free] * 2


def test_ranks_with_a_higher_cpu_weight_that_spin_are_ended_all_the_same(
    rank_target: LoadedAssignment, rank_sandboxes: SandboxPool
) -> None:
    limits = rank_target.plan.limits
    with (
        rank_sandboxes.borrow() as sandbox,
        RankedWorker(
            sandbox, submission_of(SPINS), limits=limits, most=2, network_rate=50_000_000
        ) as worker,
    ):
        worker.load()
        worker.world(2)
        begin = time.monotonic()
        with pytest.raises(Stopped, match="no rank returned within the time limit"):
            worker.ask(dict.fromkeys(range(2), Call("spin")), None)
        assert time.monotonic() - begin < limits.call_wall_s + SLACK_S
