"""Attack 31: spend time where one of the two clocks does not see it.

Sleep is on the judge's clock; threads and processes, ended ones too, are in the cgroup."""

import contextlib
import subprocess
import sys

import pytest

from grader.judge.judgement import Cause
from grader.performance.decide.interval import Kind
from tests.hostile.conftest import Racing
from tests.hostile.unhurried import HONEST, SLOW_MIX

SLEEP = """
import time

def mix(x):
    time.sleep(0.001 if len(x) <= 16 else 0.1)
    return right(x)
"""

IN_A_THREAD = """
import threading
slow = mix

def mix(x):
    made = []
    thread = threading.Thread(target=lambda: made.append(slow(x)))
    thread.start()
    thread.join()
    return made[0]
"""

IN_A_PROCESS = """
import os
slow = mix

def mix(x):
    reading, writing = os.pipe()
    if os.fork() == 0:
        with open(writing, "wb") as out:
            out.write(slow(x).numpy().tobytes())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as came:
        return torch.frombuffer(bytearray(came.read()), dtype=x.dtype).view(x.shape)
"""

IN_A_DAEMON = """
import mmap, os
slow = mix
shared = mmap.mmap(-1, 1 << 20)
made = []

def serve():
    for n in iter(lambda: os.read(asked, 4), b""):
        side = int.from_bytes(n, "little")
        x = torch.frombuffer(bytearray(shared[: 4 * side * side]), dtype=torch.float32)
        shared[: 4 * side * side] = slow(x.view(side, side)).numpy().tobytes()
        os.write(done, b"x")

def mix(x):
    global asked, done, ask, answer
    if not made:
        (asked, ask), (answer, done) = os.pipe(), os.pipe()
        made.append(os.fork())
        if not made[0]:
            os.fork() or serve()
            os._exit(0)
    shared[: x.nbytes] = x.contiguous().numpy().tobytes()
    os.write(ask, len(x).to_bytes(4, "little"))
    os.read(answer, 1)
    return torch.frombuffer(bytearray(shared[: x.nbytes]), dtype=x.dtype).view(x.shape)
"""


def test_sleep_is_judged_by_the_clock(race: Racing) -> None:
    found = race(HONEST + SLOW_MIX + SLEEP, "time")
    assert found.cause("time") is Cause.TOO_SLOW
    assert found.check("time").finding[0].metrics[0].kind is Kind.WALL_RATIO


def test_sleep_beside_busy_neighbours_is_sleep(race: Racing) -> None:
    """Neighbours excuse waiting for a processor; who sleeps waits for none."""
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            stack.callback(busy.wait)
            stack.callback(busy.kill)
        found = race(HONEST + SLOW_MIX + SLEEP, "time")
    assert found.cause("time") is Cause.TOO_SLOW
    assert found.check("time").finding[0].metrics[0].kind is Kind.WALL_RATIO


@pytest.mark.parametrize(
    "where", [IN_A_THREAD, IN_A_PROCESS, IN_A_DAEMON], ids=["thread", "process", "daemon"]
)
def test_whoever_does_the_work_it_is_charged(race: Racing, where: str) -> None:
    found = race(HONEST + SLOW_MIX + where, "time")
    assert found.cause("time") is Cause.TOO_SLOW
