"""Whose fault it is when a child ends or stays silent: decided here and nowhere else.

Takes: what was seen from outside (wait status, out-of-memory events, the clock, the wall). Gives:
a `FaultKind` and a sentence. Does not cover: wrong values and exceptions (they are replies).
"""

import os
import signal
from dataclasses import dataclass
from enum import StrEnum

from grader.errors import CallTimeout, ChannelClosed, ChannelError, SandboxError


class FaultKind(StrEnum):
    """What stopped a case before its last step."""

    MISSING = "missing"
    EXCEPTION = "exception"
    CRASH = "crash"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    BAD_REPLY = "bad_reply"
    INPUT_CHANGED = "input_changed"
    INFRASTRUCTURE = "infrastructure"
    AUTHOR = "author"
    NO_DEVICE = "no_device"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a child ended, seen from outside.

    Attributes:
        wall_alive: whether the warm process still answers.
        exited: whether the child has ended.
        status: its wait status, as `os.waitpid` gives it; 0 while it runs.
        oom_kills: processes that the kernel ended for want of memory while it ran.
    """

    wall_alive: bool
    exited: bool
    status: int
    oom_kills: int


def classify(error: Exception, ending: Ending) -> tuple[FaultKind, str]:
    """Return the kind of fault and a sentence for the student.

    Args:
        error: what the judge was waiting for when it gave up.
        ending: what had become of the child.
    """
    if isinstance(error, SandboxError) or not ending.wall_alive:
        return FaultKind.INFRASTRUCTURE, f"the grader's own box failed: {error}"
    if ending.oom_kills:
        return FaultKind.OUT_OF_MEMORY, "it used more memory than the limit and was ended"
    if isinstance(error, CallTimeout):
        return FaultKind.TIMEOUT, "it did not return within the time limit"
    if isinstance(error, ChannelClosed):
        return FaultKind.CRASH, _describe_status(ending)
    if isinstance(error, ChannelError):
        return FaultKind.BAD_REPLY, f"its process answered out of turn or in a broken form: {error}"
    return FaultKind.INFRASTRUCTURE, f"the grader failed: {type(error).__name__}: {error}"


def _describe_status(ending: Ending) -> str:
    if not ending.exited:
        return "its process closed the connection to the grader"
    if os.WIFSIGNALED(ending.status):
        number = os.WTERMSIG(ending.status)
        names = {known.value: known.name for known in signal.Signals}  # real-time ones have none
        return f"its process was ended by {names.get(number, f'SIG{number}')}"
    return "its process exited early"  # with a status of its own choice, which says nothing
