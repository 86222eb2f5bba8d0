"""Whose fault it is when a child ends or stays silent: decided here and nowhere else.

Takes: what was seen from outside (wait status, out-of-memory events, the clock, the wall). Gives:
a `FaultKind` and a sentence. Does not cover: wrong values and exceptions (they are replies).
"""

import builtins
import os
import re
import signal
from dataclasses import dataclass
from enum import StrEnum

from grader.errors import CallTimeout, ChannelClosed, ChannelError, DeviceError, SandboxError

_SENTENCES = (
    (
        r"initialize the default process group twice",
        "the ranks have joined the default process group already; use it, and call "
        "`init_process_group` nowhere in your file",
    ),
    (
        r"Default process group has not been initialized|process group .*(destroyed|not init)"
        r"|Invalid process group specified|Group .* is not registered",
        "the process group is gone: it was there when your code began, so your code must have "
        "called `destroy_process_group`, or passes a group that it was not given",
    ),
    (
        r"Connection closed by peer|Connection reset by peer|Broken pipe|Socket closed",
        "another rank left while this one was talking to it",
    ),
    (
        r"(?i)timed? ?out.*(recv|send|waiting|operation)|(recv|send|wait).*timed? ?out",
        "a collective waited for a rank that never joined it",
    ),
    (
        r"(?i)unsupported|does not support|not implemented for|no support for",
        "gloo has no such operation: build it from sends and receives, or from others",
    ),
    (
        r"op\.preamble\.(length|nbytes)|size doesn't match|different sizes|Mismatch",
        "ranks met in a collective with different sizes or in different ones",
    ),
)
_COMPILED = tuple((re.compile(pattern), sentence) for pattern, sentence in _SENTENCES)

PEER_LEFT = _SENTENCES[2][1]


def explain_misuse(names: tuple[str, ...], text: str) -> str:
    """Return a sentence for the student; empty if this is no exception of a process group.

    Source: texts of torch/distributed/distributed_c10d.py and of gloo's transport, torch 2.13.
    """
    if not {"ValueError", "RuntimeError", "AssertionError"} & set(names):
        return ""
    if not _is_of_groups(text):
        return ""
    return next((sentence for pattern, sentence in _COMPILED if pattern.search(text)), "")


def _is_of_groups(text: str) -> bool:
    return bool(re.search(r"(?i)process ?group|gloo|Group .* is not registered|c10d", text))


def is_peer_failure(names: tuple[str, ...], text: str) -> bool:
    """Return whether an exception only says that another rank has gone."""
    return explain_misuse(names, text) == PEER_LEFT


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
        sandbox_alive: whether the warm process still answers.
        exited: whether the child has ended.
        status: its wait status, as `os.waitpid` gives it; 0 while it runs.
        oom_kills: processes that the kernel ended for want of memory while it ran.
    """

    sandbox_alive: bool
    exited: bool
    status: int
    oom_kills: int


def classify(error: Exception, ending: Ending) -> tuple[FaultKind, str]:
    """Return the kind of fault and a sentence for the student.

    Args:
        error: what the judge was waiting for when it gave up.
        ending: what had become of the child.
    """
    if isinstance(error, SandboxError) or not ending.sandbox_alive:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class RankStack:
    """Where one rank stood when its group came to no end.

    Attributes:
        rank: its number.
        state: what had become of it, in the grader's own words.
        where: place in the student's source; empty if its stack names none.
        text: its stack in its own words, capped; it may repeat hidden inputs, as `Fault.detail`.
    """

    rank: int
    state: str
    where: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why a case could not go on.

    Attributes:
        kind: what happened.
        message: in the grader's own words; safe to show for a hidden case.
        detail: in the submission's words, such as the text of an exception. It may repeat hidden
            inputs, so a student reads it for public cases only.
        where: place in the student's source, "cell 3, line 2" or "kv_cache.py, line 41".
        stacks: of a group that came to no end, one per rank; else none.
    """

    kind: FaultKind
    message: str
    detail: str = ""
    where: str = ""
    stacks: tuple[RankStack, ...] = ()


class Raised(Exception):
    """The submission raised: the class names (most derived first) and text that came back.

    Attributes:
        names: class names along the method resolution order.
        text: text of the exception, capped.
        where: place in the student's source.
        who: which rank raised, "rank 1"; empty in a box of its own.
    """

    def __init__(self, names: tuple[str, ...], text: str, where: str, who: str = "") -> None:
        super().__init__(f"{names[0]}: {text}")
        self.names = names
        self.text = text
        self.where = where
        self.who = who


class Stopped(Exception):
    """The case cannot go on."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


_BUILTIN_EXCEPTIONS = frozenset(
    name
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, BaseException)
)


def fault_of(raised: Raised) -> Fault:
    """Name the fault of an exception that no step asked for."""
    if "NotImplementedError" in raised.names:
        kind, message = FaultKind.MISSING, "not implemented yet"
    elif "MemoryError" in raised.names:
        kind, message = FaultKind.OUT_OF_MEMORY, "memory ran out"
    else:
        kind, message = FaultKind.EXCEPTION, f"{public_name(raised.names)} was raised"
        advice = explain_misuse(raised.names, raised.text)
        message = f"{message}: {advice}" if advice else message
    if raised.who:
        message = f"{raised.who}: {message}"
    return Fault(kind=kind, message=message, detail=str(raised), where=raised.where)


def fault_from(error: SandboxError | DeviceError) -> Fault:
    """Return the fault of a machine that refused; it is never the student's."""
    return Fault(kind=FaultKind.INFRASTRUCTURE, message=f"{error}. {error.hint}".strip())


def public_name(names: tuple[str, ...]) -> str:
    """Return the first class name that is Python's own: a name the submission made may say more."""
    return next((name for name in names if name in _BUILTIN_EXCEPTIONS), "an exception")
