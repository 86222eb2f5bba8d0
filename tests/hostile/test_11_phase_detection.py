"""Attack 11: tell checked calls from timed ones, or early ones from late ones.

Every timed call is checked, a fork counts all its calls, and nothing that a worker sees differs."""

import re

import pytest

from grader.assignment.loaded import LoadedAssignment
from grader.judge.judgement import Cause
from grader.sandbox.pool import SandboxPool
from tests.hostile.conftest import Racing
from tests.hostile.race import measured_alone
from tests.hostile.unhurried import HONEST, SLOW_MIX

PATTERN = """
calls = 0
slow = mix

def mix(x):
    global calls
    calls += 1
    return right(x) if FAST else [slow(x) for _ in range(3)][0]
"""

PATTERNS = {
    "fast at first": "calls <= 4",
    "slow at first": "calls > 8",
    "every second call": "calls % 2",
    "by the content": "x.sum() > 0",
}

SKIPPED = """
slow = mix

def mix(x):
    return torch.zeros_like(x) if len(x) > 16 else slow(x)
"""

FINGERPRINT = """
import os, sys, threading

def mix(x):
    stack, frame = [], sys._getframe()
    while frame is not None:
        stack.append((frame.f_code.co_filename, frame.f_code.co_name))
        frame = frame.f_back
    descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    about = sys.argv, sorted(os.environ.items()), stack, os.getcwd(), os.getpid() == os.getpgid(0)
    raise ValueError(repr((*about, descriptors, threading.active_count(), sorted(sys.modules))))
"""


@pytest.mark.parametrize("when", PATTERNS)
def test_no_pattern_of_fast_calls_makes_slow_ones_cheap(race: Racing, when: str) -> None:
    found = race(HONEST + SLOW_MIX + PATTERN.replace("FAST", PATTERNS[when]), "time")
    assert found.cause("time") is Cause.TOO_SLOW


def test_skipped_work_is_wrong_where_it_is_timed(race: Racing) -> None:
    found = race(HONEST + SLOW_MIX + SKIPPED, "time")
    assert found.cause("values") is Cause.NONE
    assert found.cause("time") is Cause.WRONG_VALUE


def test_checked_and_timed_calls_look_the_same(
    speed_target: LoadedAssignment, speed_sandboxes: SandboxPool
) -> None:
    checked, timed = (
        re.sub(r"\d+", "N", told)
        for told in measured_alone(HONEST + FINGERPRINT, speed_target, speed_sandboxes, "time")
    )
    assert "ValueError" in checked
    assert checked == timed
