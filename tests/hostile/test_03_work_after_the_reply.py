"""Attack 3, in a race: reply at once, and work in threads or processes that nobody waits for.

All processes are frozen at the reply; what they do when they go on is charged to the run."""

import pytest

from grader.judge.judgement import Cause
from tests.hostile.conftest import Racing
from tests.hostile.unhurried import HONEST, SLOW_MIX, SLOW_TALLY

LATER = """
import queue, threading

class Tally(Tally):
    def __init__(self):
        super().__init__()
        self.waiting = queue.SimpleQueue()
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        for x in iter(self.waiting.get, None):
            super().add(x)

    def add(self, x):
        self.waiting.put(x.clone())

    def total(self):
        self.waiting.put(None)
        self.thread.join()
        return super().total()
"""

IN_THE_GAPS = """
import os, threading

def four_more(x):
    for _ in range(4):
        right(x)

def mix(x):
    y = right(x)
    START
    return y
"""

STARTS = {
    "thread": "threading.Thread(target=four_more, args=(x.clone(),), daemon=True).start()",
    "process": "os.fork() or (four_more(x), os._exit(0))",
}


def test_sums_that_a_thread_makes_later_are_made_all_the_same(race: Racing) -> None:
    found = race(HONEST + SLOW_MIX + SLOW_TALLY + LATER, "growth")
    assert found.cause("growth") is Cause.TOO_SLOW


@pytest.mark.parametrize("how", STARTS)
def test_work_between_the_calls_is_charged(race: Racing, how: str) -> None:
    source = HONEST + SLOW_MIX + IN_THE_GAPS.replace("START", STARTS[how])
    assert race(source, "time").cause("time") is Cause.TOO_SLOW
