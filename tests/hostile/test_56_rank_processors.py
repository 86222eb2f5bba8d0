"""Ranks on a slowed wire stay on one processor, where they go before what others run."""

import os

import pytest

from grader.author.steps import Call
from grader.measure.ranks import open_ranks
from grader.plan.course import Course
from grader.sandbox.pool import WallPool
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


@pytest.mark.parametrize("wire_rate", [0, 50_000_000])
def test_a_rank_stays_on_one_processor(
    rank_target: Course, rank_walls: WallPool, wire_rate: int
) -> None:
    submission = submission_of(TEXT)
    with (
        rank_walls.borrow() as wall,
        open_ranks(
            wall, submission, limits=rank_target.plan.limits, most=2, wire_rate=wire_rate
        ) as box,
    ):
        box.load("")
        box.world(2)
        found = list(box.ask(dict.fromkeys(range(2), Call("seen")), None).values())
    cores = len(os.sched_getaffinity(0))
    free = [cores, "set", "refused", "refused", cores]  # the same probe can tell
    assert any("before what others run" in layer for layer in wall.layers) == (wire_rate > 0)
    assert found == [[1, "refused", "refused", "refused", 1] if wire_rate else free] * 2
