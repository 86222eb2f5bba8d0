"""Whose fault it is when a worker ends or does not reply: the whole table."""

import signal

import pytest

from grader.errors import (
    CallTimeout,
    ChannelClosed,
    ChannelError,
    MachineBusy,
    SandboxError,
    SandboxLost,
)
from grader.evidence.faults import Ending, FaultKind, LoadFailure, classify


def ending(*, sandbox_alive=True, exited=True, status=0, oom_kills=0):
    return Ending(sandbox_alive=sandbox_alive, exited=exited, status=status, oom_kills=oom_kills)


RUNNING = ending(exited=False)
OOM = ending(status=signal.SIGKILL, oom_kills=1)
LOST = ending(sandbox_alive=False)
CLOSED, LATE, BROKEN = ChannelClosed("c"), CallTimeout("t"), ChannelError("b")
OURS = (SandboxError("no sandbox"), SandboxLost("gone"))


@pytest.mark.parametrize(
    ("error", "outcome", "kind", "expected"),
    [
        (CLOSED, ending(status=signal.SIGSEGV), FaultKind.CRASH, "SIGSEGV"),
        (CLOSED, ending(status=signal.SIGABRT | 0x80), FaultKind.CRASH, "SIGABRT"),
        (CLOSED, ending(status=signal.SIGKILL), FaultKind.CRASH, "SIGKILL"),
        (CLOSED, ending(status=signal.SIGSYS), FaultKind.CRASH, "SIGSYS"),
        (CLOSED, ending(status=0), FaultKind.CRASH, "exited early"),
        (CLOSED, ending(status=3 << 8), FaultKind.CRASH, "exited early"),
        (CLOSED, RUNNING, FaultKind.CRASH, "closed the connection"),
        (CLOSED, OOM, FaultKind.OUT_OF_MEMORY, "memory"),
        (LATE, RUNNING, FaultKind.TIMEOUT, "time limit"),
        (LATE, ending(), FaultKind.TIMEOUT, "time limit"),
        (MachineBusy("b"), RUNNING, FaultKind.BUSY, "other programs had"),
        (MachineBusy("b"), OOM, FaultKind.OUT_OF_MEMORY, "memory"),
        (LATE, OOM, FaultKind.OUT_OF_MEMORY, "memory"),
        (BROKEN, RUNNING, FaultKind.BAD_REPLY, "out of turn"),
        (BROKEN, ending(), FaultKind.BAD_REPLY, "invalid form: b"),
        (BROKEN, OOM, FaultKind.OUT_OF_MEMORY, "memory"),
        *(
            (error, LOST, FaultKind.INFRASTRUCTURE, "own sandbox")
            for error in (CLOSED, LATE, BROKEN)
        ),
        *((error, RUNNING, FaultKind.INFRASTRUCTURE, "own sandbox") for error in OURS),
        *((error, OOM, FaultKind.INFRASTRUCTURE, "own sandbox") for error in OURS),
        (ValueError("v"), RUNNING, FaultKind.INFRASTRUCTURE, "ValueError: v"),
        (OSError("o"), ending(), FaultKind.INFRASTRUCTURE, "OSError: o"),
    ],
    ids=repr,
)
def test_classify(error, outcome, kind, expected):
    found, message = classify(error, outcome)
    assert found is kind
    assert expected in message


@pytest.mark.parametrize("number", [1, 2, 9, 15, 31, 35, 40, 64])
def test_any_signal_has_a_name(number):
    kind, message = classify(CLOSED, ending(status=number))
    assert kind is FaultKind.CRASH
    assert "SIG" in message


def test_an_exception_without_text_is_told_without_a_gap() -> None:
    failure = LoadFailure(names=("f",), text="AssertionError: ", where="In [3], line 2")
    assert failure.consequence == "AssertionError; so f is not defined"
