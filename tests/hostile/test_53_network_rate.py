"""A network with a limited rate takes as long as arithmetic says, and no rank can change that."""

import pytest

from grader.assignment.loaded import LoadedAssignment
from grader.assignment.steps import Call
from grader.sandbox.pool import SandboxPool
from grader.worker.ranks.ranks import RankedWorker
from tests.hostile.conftest import submission_of

RATE = 50_000_000
TEXT = """
import os
import subprocess
import time
import torch
import torch.distributed as dist

def reduce(numbers):
    dist.barrier()
    begin = time.perf_counter()
    dist.all_reduce(torch.ones(numbers))
    return time.perf_counter() - begin

def lift():
    return subprocess.run(["tc", "qdisc", "del", "dev", "lo", "root"]).returncode
"""


def test_bytes_take_their_time(rank_target: LoadedAssignment, rank_sandboxes: SandboxPool) -> None:
    submission = submission_of(TEXT)
    numbers = 2 << 20
    limits = rank_target.plan.limits
    with (
        rank_sandboxes.borrow() as sandbox,
        RankedWorker(sandbox, submission, limits=limits, most=2, network_rate=RATE) as worker,
    ):
        worker.load()
        worker.world(2)
        (lifted,) = worker.ask({0: Call("lift")}, None).values()
        assert not isinstance(lifted, int) or lifted != 0
        before_ns = worker.wall_ns
        worker.ask(dict.fromkeys(range(2), Call("reduce", numbers)), None)
        seconds = (worker.wall_ns - before_ns) / 1e9
    assert seconds == pytest.approx(2 * 4 * numbers / RATE, rel=0.25)
