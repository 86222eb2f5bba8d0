"""Faults: why a case could not go on, and whose fault that is.

`classify` decides it for a worker that ended or did not reply, from what can be seen outside it:
its wait status, out-of-memory events, the clock, the sandbox. `fault_of` decides it for an
exception of the submission that no step asked for, `our_fault` for an error of ours.
Wrong values are no faults; they are observations.
"""

import builtins
import os
import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from grader.errors import (
    CallTimeout,
    ChannelClosed,
    ChannelError,
    DeviceError,
    MachineBusy,
    SandboxError,
)
from grader.intake.submission import Damage, Submission

_BUILTIN_EXCEPTIONS = frozenset(
    name
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, BaseException)
)
_OF_THE_INTERPRETER = "InterpreterError"
"""Class of the exception that Triton's interpreter makes of one inside a kernel."""
_ABOUT_GROUPS = re.compile(r"(?i)process ?group|gloo|Group .* is not registered|c10d")
_PEER_LEFT = "another rank ended or left the group while this one communicated with it"
_MISUSES = (
    (
        re.compile(r"initialize the default process group twice"),
        "the ranks have joined the default process group already; use that group, and do not call "
        "`init_process_group` in your file",
    ),
    (
        re.compile(
            r"Default process group has not been initialized|process group .*(destroyed|not init)"
            r"|Invalid process group specified|Group .* is not registered"
        ),
        "the process group is gone: it existed when your code started, so your code has called "
        "`destroy_process_group`, or it uses a group that it was not given",
    ),
    (
        re.compile(r"Connection closed by peer|Connection reset by peer|Broken pipe|Socket closed"),
        _PEER_LEFT,
    ),
    (
        re.compile(r"(?i)timed? ?out.*(recv|send|waiting|operation)|(recv|send|wait).*timed? ?out"),
        "a collective waited for a rank that never called it",
    ),
    (
        re.compile(r"(?i)unsupported|does not support|not implemented for|no support for"),
        "the gloo backend does not have this operation; build it from `send` and `recv`, or from "
        "other collectives",
    ),
    (
        re.compile(r"op\.preamble\.(length|nbytes)|size doesn't match|different sizes|Mismatch"),
        "the ranks called a collective with different sizes, or called different collectives",
    ),
)
"""Texts of exceptions about a process group, and what each means for a student."""


IMPORT_FAILED = "the submission could not be imported"
LAUNCHER_MISSING = "the launcher is not defined"
NAME_MISSING = "a name that the problem needs is not defined"
NOT_IMPLEMENTED = "not implemented yet"
LOAD_FAILED = "loading the file: "
"""How the messages of some faults begin; a report tells each of them once."""


class FaultKind(StrEnum):
    """What stopped a case before its last step.

    BUSY is our failure, as INFRASTRUCTURE is: the submission hardly had a processor, so a case is
    repeated.
    """

    MISSING = "missing"
    EXCEPTION = "exception"
    CRASH = "crash"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    BAD_REPLY = "bad_reply"
    INPUT_CHANGED = "input_changed"
    BUSY = "busy"
    INFRASTRUCTURE = "infrastructure"
    AUTHOR = "author"
    NO_DEVICE = "no_device"


@dataclass(frozen=True, slots=True, kw_only=True)
class RankStack:
    """What one rank was doing when its process group hung, or where it raised.

    Attributes:
        state: what it was doing, in the grader's words.
        where: source location in the submission; empty if its stack names none.
        text: its stack, capped; it may repeat hidden inputs, as `Fault.detail`.
    """

    rank: int
    state: str
    where: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why a case could not go on.

    Attributes:
        message: in the grader's words; safe to show for a hidden case.
        detail: in the submission's words, such as the text of an exception. It may repeat hidden
            inputs, so students see it for public cases only.
        where: source location in the submission, "cell 3, line 2" or "kv_cache.py, line 41".
        stacks: of a process group that hung or raised, one per rank; else empty.
    """

    kind: FaultKind
    message: str
    detail: str = ""
    where: str = ""
    stacks: tuple[RankStack, ...] = ()


def unreadable(detail: str) -> Fault:
    """Return the fault of a reply that nobody can read; `detail` says what it was."""
    message = "it returned a value that the grader cannot read"
    return Fault(kind=FaultKind.BAD_REPLY, message=message, detail=detail)


def input_changed(name: str) -> Fault:
    """Return the fault of a call that changed what its caller passed."""
    message = f"{name} changed one of its input tensors"
    return Fault(kind=FaultKind.INPUT_CHANGED, message=message)


LOAD_ENDERS = frozenset({FaultKind.CRASH, FaultKind.TIMEOUT, FaultKind.OUT_OF_MEMORY})
"""Kinds of fault that end the whole load; a load of fewer statements may do without them."""
PARTS_LOADED = (
    "the whole file could not be loaded: {}; each problem was tried with only the statements that "
    "it needs"
)
ANY_NAME = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadFailure:
    """A part of a submission that could not be loaded, while the rest was.

    Attributes:
        names: that are missing because of it; `ANY_NAME` if nobody can tell which.
        text: the exception, "ValueError: ...". No hidden input had reached the submission.
        where: source location of it.
        kind: MISSING if it only says that something is not implemented yet.
    """

    names: tuple[str, ...]
    text: str
    where: str = ""
    kind: FaultKind = FaultKind.EXCEPTION

    @property
    def consequence(self) -> str:
        """The exception, and which names are missing because of it."""
        lost = ", ".join(name for name in self.names if name != ANY_NAME)
        so = f"; so {lost} {'are' if ', ' in lost else 'is'} not defined" if lost else ""
        return f"{self.text.removesuffix(': ')}{so}"

    @property
    def fault(self) -> Fault:
        """The fault of everything that needs one of the names; it is the same for all of them."""
        message = f"{LOAD_FAILED}{self.consequence}"
        return Fault(kind=self.kind, message=message, where=self.where)

    @property
    def notice(self) -> str:
        """One sentence for the student, whatever needs the names."""
        where = f"{self.where}: " if self.where else ""
        return f"{where}{self.fault.message}; the rest of the file was loaded"


def damage_of(submission: Submission) -> tuple[LoadFailure, ...]:
    """Return what reading a submission had to leave out; its notices name each already.

    An import that is not allowed is not among it: it is still there, and fails when it runs.
    """
    return tuple(
        LoadFailure(names=one.names, text=one.message, where=one.place)
        for one in submission.broken
        if one.kind is not Damage.IMPORT
    )


def fault_of_missing(name: str, failures: Sequence[LoadFailure]) -> Fault:
    """Return why a name that a problem needs is not there: what failed, or that it is nowhere."""
    for failure in failures:
        if name in failure.names or ANY_NAME in failure.names:
            return failure.fault
    return Fault(kind=FaultKind.MISSING, message=NAME_MISSING, detail=name)


_UNKNOWN_NAME = re.compile(r"name '(\w+)' is not defined")


def explain_raised(
    names: Sequence[str], text: str, failures: Sequence[LoadFailure]
) -> tuple[Fault, ...]:
    """Return why a name that a call needed is not there, if it failed to load; else nothing."""
    found = _UNKNOWN_NAME.match(text) if "NameError" in names else None
    faults = (failure.fault for failure in failures if found and found[1] in failure.names)
    return tuple(faults)[:1]


class Raised(Exception):
    """The submission raised an exception.

    Attributes:
        names: class names along the method resolution order, the most derived first.
        text: text of the exception, capped.
        where: source location in the submission.
        who: which rank raised, "rank 1"; empty without ranks.
        because: the failure to load that led to it, if one did.
        call: the function, method or class that was called; empty if it is not known.
        stack: its frames in the submission, a line each, the innermost last.
        stacks: of every rank that was asked the same, if several were.
    """

    because: tuple[Fault, ...] = ()
    call: str = ""
    stack: str = ""
    stacks: tuple[RankStack, ...] = ()

    def __init__(self, names: tuple[str, ...], text: str, where: str, who: str = "") -> None:
        super().__init__(f"{names[0]}: {text}")
        self.names = names
        self.text = text
        self.where = where
        self.who = who


class Stopped(Exception):
    """The case cannot go on; `fault` is the reason."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


def fault_of(raised: Raised | Stopped) -> Fault:
    """Return the fault that ended a case; `Raised` is an exception that no step asked for."""
    if isinstance(raised, Stopped):
        return raised.fault
    if raised.because:
        return raised.because[0]
    if "NotImplementedError" in raised.names:
        kind, message = FaultKind.MISSING, NOT_IMPLEMENTED
    elif "MemoryError" in raised.names:
        kind, message = FaultKind.OUT_OF_MEMORY, "memory ran out"
    else:
        kind, message = FaultKind.EXCEPTION, f"{public_name(raised.names)} was raised"
        if raised.call:
            message = (
                f"{raised.call} raised {public_name(raised.names)}, and no exception was expected"
            )
        advice = explain_misuse(raised.names, raised.text)
        message = f"{message}: {advice}" if advice else message
    if raised.who:
        message = f"{raised.who}: {message}"
    return Fault(
        kind=kind, message=message, detail=str(raised), where=raised.where, stacks=raised.stacks
    )


def raised_together(replies: Mapping[int, object]) -> Raised:
    """Return the exception that explains why ranks raised, with the stack of every rank.

    Args:
        replies: of all ranks that were asked, by rank, in the order of arrival; at least one is
            `Raised`. One that only lost its connection to another explains nothing.
    """
    raised = [one for one in replies.values() if isinstance(one, Raised)]
    first = min(raised, key=lambda one: is_peer_failure(one.names, one.text))
    if len(replies) > 1:
        first.stacks = tuple(_stack_of_reply(rank, replies[rank]) for rank in sorted(replies))
    return first


def _stack_of_reply(rank: int, reply: object) -> RankStack:
    if not isinstance(reply, Raised):
        return RankStack(rank=rank, state="had returned", where="", text="")
    state = f"had raised {public_name(reply.names)}"
    text = f"{reply.stack}\n{reply}".strip()
    return RankStack(rank=rank, state=state, where=reply.where, text=text)


def public_name(names: tuple[str, ...]) -> str:
    """Return the first class that is Python's own: a name chosen by the submission could leak."""
    if names[:1] == (_OF_THE_INTERPRETER,):
        return "an exception inside a kernel"
    return next((name for name in names if name in _BUILTIN_EXCEPTIONS), "an exception")


def explain_misuse(names: tuple[str, ...], text: str) -> str:
    """Explain an exception about a process group to the student; empty for any other exception.

    Source: texts of torch/distributed/distributed_c10d.py and of gloo's transport, torch 2.13.
    """
    is_about_groups = {"ValueError", "RuntimeError", "AssertionError"} & set(names)
    if not is_about_groups or not _ABOUT_GROUPS.search(text):
        return ""
    return next((sentence for pattern, sentence in _MISUSES if pattern.search(text)), "")


def is_peer_failure(names: tuple[str, ...], text: str) -> bool:
    """Return whether an exception only says that another rank has gone."""
    return explain_misuse(names, text) == _PEER_LEFT


def our_fault(error: Exception) -> Fault:
    """Return the fault of an error of ours or of the machine; it never costs points."""
    if isinstance(error, SandboxError | DeviceError):
        message = f"{error}. {error.hint}".strip()
    else:
        message = f"the grader failed: {type(error).__name__}: {error}"
    return Fault(kind=FaultKind.INFRASTRUCTURE, message=message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What has become of a worker process, seen from outside.

    Attributes:
        sandbox_alive: whether the fork server still answers.
        status: its wait status, as `os.waitpid` gives it; 0 while it runs.
        oom_kills: processes that Linux killed for lack of memory while it ran.
    """

    sandbox_alive: bool
    exited: bool
    status: int
    oom_kills: int


def classify(error: Exception, ending: Ending) -> tuple[FaultKind, str]:
    """Return the kind of fault and a sentence for the student.

    `error` is the one with which the judge gave up waiting for a reply.
    """
    if isinstance(error, SandboxError) or not ending.sandbox_alive:
        return FaultKind.INFRASTRUCTURE, f"the grader's own sandbox failed: {error}"
    if ending.oom_kills:
        return FaultKind.OUT_OF_MEMORY, "it used more memory than the limit and was ended"
    if isinstance(error, MachineBusy):
        return FaultKind.BUSY, "other programs had the grading machine's processors all the time"
    if isinstance(error, CallTimeout):
        return FaultKind.TIMEOUT, "it did not return within the time limit"
    if isinstance(error, ChannelClosed):
        return FaultKind.CRASH, _describe_status(ending)
    if isinstance(error, ChannelError):
        message = f"its process sent a reply out of turn or in an invalid form: {error}"
        return FaultKind.BAD_REPLY, message
    return FaultKind.INFRASTRUCTURE, f"the grader failed: {type(error).__name__}: {error}"


def _describe_status(ending: Ending) -> str:
    if not ending.exited:
        return "its process closed the connection to the grader"
    if os.WIFSIGNALED(ending.status):
        number = os.WTERMSIG(ending.status)
        names = {known.value: known.name for known in signal.Signals}  # real-time ones have none
        return f"its process was ended by {names.get(number, f'SIG{number}')}"
    return "its process exited early"  # the submission chooses its exit status: it tells nothing
