"""A wire that is held to a rate takes as long as arithmetic says, and no rank changes that."""

import pytest

from grader.author.steps import Call
from grader.measure.ranks import open_ranks
from grader.plan.course import Course
from grader.sandbox.pool import WallPool
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


def test_bytes_take_their_time(rank_target: Course, rank_walls: WallPool) -> None:
    submission = submission_of(TEXT)
    numbers = 2 << 20
    limits = rank_target.plan.limits
    with (
        rank_walls.borrow() as wall,
        open_ranks(wall, submission, limits=limits, most=2, wire_rate=RATE) as box,
    ):
        box.load("")
        box.world(2)
        (lifted,) = box.ask({0: Call("lift")}, None).values()
        assert not isinstance(lifted, int) or lifted != 0
        before_ns = box.wall_ns
        box.ask(dict.fromkeys(range(2), Call("reduce", numbers)), None)
        seconds = (box.wall_ns - before_ns) / 1e9
    assert seconds == pytest.approx(2 * 4 * numbers / RATE, rel=0.25)
