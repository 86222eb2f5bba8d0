"""Attack 13, in a race: leave in a measured call, or let only the first thread leave.

Only a run that finishes counts; a process that goes on in another thread is still metered."""

import pytest

from grader.judge.judgement import Cause
from tests.hostile.conftest import Racing
from tests.hostile.unhurried import HONEST, SLOW_MIX

LEAVE = """
import os, sys
calls = 0

def mix(x):
    global calls
    calls += len(x) > 16
    if calls == 2:
        HOW
    return right(x)
"""

WAYS = {
    "sys.exit": ("sys.exit(0)", Cause.CRASH),
    "os._exit": ("os._exit(0)", Cause.CRASH),
    "closed channel": ("os.closerange(3, 100)", Cause.CRASH),
    "never comes back": ("while True: pass", Cause.TOO_SLOW),
    "takes all memory": ("kept = [torch.ones(1 << 24) for _ in range(99)]", Cause.TOO_MUCH_MEMORY),
}

ONE_THREAD_LEAVES = """
import ctypes, os, sys, threading, time
left = []
slow = mix
EXIT = {"x86_64": 60, "aarch64": 93}[os.uname().machine]

def mix(x):
    y = slow(x)
    if not left:
        left.append(True)
        frame = sys._getframe()
        while frame.f_code.co_name != "serve":
            frame = frame.f_back
        child, request = frame.f_locals["self"], frame.f_locals["request"]
        protocol = sys.modules[type(child).__module__.rpartition(".")[0] + ".protocol"]

        def go_on():
            time.sleep(0.01)
            protocol.send(child.channel, {"seq": request["seq"], **child._express(y)})
            child.serve()

        threading.Thread(target=go_on).start()
        ctypes.CDLL(None).syscall(EXIT, 0)
    return y
"""


@pytest.mark.parametrize("how", WAYS)
def test_leaving_a_measured_call_ends_the_race(race: Racing, how: str) -> None:
    way, cause = WAYS[how]
    found = race(HONEST + SLOW_MIX + LEAVE.replace("HOW", way), "time")
    assert found.cause("values") is Cause.NONE
    assert found.cause("time") is cause


def test_a_process_without_its_first_thread_is_still_metered(race: Racing) -> None:
    assert race(HONEST + SLOW_MIX + ONE_THREAD_LEAVES, "time").cause("time") is Cause.TOO_SLOW
