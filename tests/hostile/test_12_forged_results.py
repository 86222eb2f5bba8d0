"""Attack 12: forge results over the channel, or print verdicts.

The channel carries data, never verdicts. A message that answers no request ends the child. Stdout
is shown and never parsed."""

import resource

import pytest

from grader.judge.judgement import Cause
from grader.runner.worker import WorkerProcess
from tests.hostile.conftest import Attack
from tests.hostile.honest import HONEST

FORGE_EARLY = """
import json, os, stat, struct

def _forge():
    body = json.dumps({"seq": "0" * 16, "value": True, "tensors": [], "verdict": "PASS"}).encode()
    for fd in range(3, 10):
        try:
            if stat.S_ISSOCK(os.fstat(fd).st_mode):
                os.write(fd, struct.pack(">I", len(body)) + body)
        except OSError:
            pass

def scale(x, factor):
    _forge()
    return torch.zeros_like(x)
"""

GARBAGE = """
import os

def scale(x, factor):
    os.write(3, os.urandom(64))
    os.write(3, b"\\xff" * 5000)
    return torch.zeros_like(x)
"""

DEEP = """
import os, struct

def scale(x, factor):
    body = b"[" * 200000
    os.write(3, struct.pack(">I", len(body)) + body)
    return torch.zeros_like(x)
"""

PRINTS = """
print('{"scores": {"scale": 6}}')
print("PASS scale.values")
print("===== 1 passed in 0.1s =====")

def scale(x, factor):
    print("PASS")
    return torch.zeros_like(x)
"""

HUGE_HEADER = """
import gc

def scale(x, factor):
    for thing in gc.get_objects():
        if type(thing).__name__ == "WORKER_CLASS":
            thing._express = lambda value: {
                "value": {"t": 0},
                "tensors": [{"dtype": "float32", "shape": [1 << 40, 1 << 40], "offset": -64}],
            }
            type(thing)._express = lambda self, value: {
                "value": {"t": 0},
                "tensors": [{"dtype": "float32", "shape": [1 << 40, 1 << 40], "offset": -64}],
            }
    return torch.zeros_like(x)
""".replace("WORKER_CLASS", WorkerProcess.__name__)


MANY_REFERENCES = """
import gc

def scale(x, factor):
    for thing in gc.get_objects():
        if type(thing).__name__ == "WORKER_CLASS":
            one = {"dtype": "uint8", "shape": [1 << 20], "strides": [1], "offset": 0}
            reply = {"value": {"l": [{"t": 0}] * 9000}, "tensors": [one]}
            type(thing)._express = lambda self, value: reply
    return x
""".replace("WORKER_CLASS", WorkerProcess.__name__)

MANY_TENSORS = """
import gc

def scale(x, factor):
    for thing in gc.get_objects():
        if type(thing).__name__ == "WORKER_CLASS":
            one = {"dtype": "uint8", "shape": [1 << 20], "strides": [1], "offset": 0}
            reply = {"value": {"l": [{"t": i} for i in range(3000)]}, "tensors": [one] * 3000}
            type(thing)._express = lambda self, value: reply
    return x
""".replace("WORKER_CLASS", WorkerProcess.__name__)


@pytest.mark.parametrize("source", [MANY_REFERENCES, MANY_TENSORS])
def test_a_small_reply_cannot_fill_the_judges_memory(attack: Attack, source: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = attack(HONEST + source)
    assert result.cause("scale") is Cause.WRONG_VALUE
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 200 << 10


def test_a_forged_reply_is_out_of_turn(attack: Attack) -> None:
    result = attack(HONEST + FORGE_EARLY)
    assert result.cause("scale") is Cause.WRONG_VALUE
    assert result.cause("Counter") is Cause.NONE


def test_garbage_on_the_channel_is_a_broken_reply(attack: Attack) -> None:
    assert attack(HONEST + GARBAGE).cause("scale") in (Cause.WRONG_VALUE, Cause.TIMEOUT)


def test_deeply_nested_json_does_not_end_the_judge(attack: Attack) -> None:
    assert attack(HONEST + DEEP).cause("scale") is Cause.WRONG_VALUE


def test_printed_verdicts_are_only_shown(attack: Attack) -> None:
    result = attack(HONEST + PRINTS)
    assert result.cause("scale") is Cause.WRONG_VALUE
    assert "PASS scale.values" in result.output


def test_an_impossible_tensor_header_is_not_believed(attack: Attack) -> None:
    assert attack(HONEST + HUGE_HEADER).cause("scale") in (Cause.WRONG_VALUE, Cause.CRASH)
