"""Attack 30: a process tree that undoes its own freeze, and works while the reference is timed.

SIGSTOP reaches one process after the other, so processes that wake each other could outlast it, and
a process that is already ending may send its parent any signal. So no process can send SIGCONT."""

import time

import pytest
import torch

from grader.assignment.loaded import LoadedAssignment
from grader.assignment.steps import Call
from grader.intake.submission import Origin, SourceFile, Submission
from grader.sandbox.pool import SandboxPool
from grader.worker.session import open_session
from tests.hostile.unhurried import HONEST, SLOW_MIX

FROZEN_S = 0.25
SETTLE_S = 0.15  # a stopped process finishes the system call that it is in
MOST_CPU_NS = 5_000_000
CALLS = 5

RING = """
import contextlib, mmap, os, signal, time
busy = mmap.mmap(-1, 4096)
ring = mmap.mmap(-1, 4096)
made = []

def wake_the_others(own):
    while True:
        if busy[0]:
            time.sleep(0.0003)
            continue
        for number in range(0, 64, 8):
            pid = int.from_bytes(ring[number : number + 8], "little")
            if pid and number != own:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGCONT)

def begin():
    for number in range(0, 64, 8) if not made else ():
        made.append(os.fork())
        if not made[-1]:
            wake_the_others(number)
        ring[number : number + 8] = made[-1].to_bytes(8, "little")
"""

ENDING_CHILDREN = """
import ctypes, contextlib, mmap, os, signal, time
busy = mmap.mmap(-1, 4096)
CLONE = {"x86_64": 56, "aarch64": 220}[os.uname().machine]

def work_when_woken():
    memory = mmap.mmap(-1, 192 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if ctypes.CDLL(None).syscall(CLONE, int(signal.SIGCONT), 0, 0, 0, 0) == 0:
        for page in range(0, len(memory), 4096):
            memory[page] = 1
        while busy[0]:
            pass
        os._exit(0)
    while busy[0]:
        time.sleep(0.0003)
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        pass
    os._exit(0)

def begin():
    if not os.fork():
        work_when_woken()
    time.sleep(0.3)
"""

MIX = """
def mix(x):
    busy[0] = 1
    begin()
    y = right(x)
    busy[0] = 0
    time.sleep(0.001)
    return y
"""


@pytest.mark.parametrize("how", [RING, ENDING_CHILDREN], ids=["ring", "clone"])
def test_nothing_runs_after_the_reply(
    speed_target: LoadedAssignment, speed_sandboxes: SandboxPool, how: str
) -> None:
    submission = Submission(
        name="attack",
        sha256="",
        origin=Origin.MODULE,
        entry="submission",
        files=(SourceFile(name="submission.py", text=HONEST + SLOW_MIX + how + MIX),),
    )
    limits = speed_target.plan.limits
    with (
        speed_sandboxes.borrow() as sandbox,
        open_session(sandbox, submission, limits=limits) as session,
    ):
        session.load()
        if not session.metered:
            pytest.skip("nothing counts processor time here")
        for _ in range(CALLS):
            session.call(Call("mix", torch.ones(16, 16)))
            time.sleep(SETTLE_S)
            before_ns = session.usage().cpu_ns
            time.sleep(FROZEN_S)
            assert session.usage().cpu_ns - before_ns < MOST_CPU_NS
