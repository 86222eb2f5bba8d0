"""Which rank's fault it is when a process group hangs or breaks, and where the others were.

The first cause is named, not what follows from it: a rank that ended, before those that lost their
connection to it; an exception, before the ranks that wait for the one that raised it. Exceptions of
ranks that all answered are replies, not faults.
"""

import contextlib
import os
import re
import selectors
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from grader.errors import CallTimeout, ChannelError
from grader.evidence.faults import (
    Fault,
    FaultKind,
    Raised,
    RankStack,
    classify,
    fault_of,
    is_peer_failure,
    public_name,
)
from grader.intake.submission import Submission
from grader.runner.order import STACK_SIGNAL
from grader.sandbox.child_process import ChildProcess
from grader.sandbox.sandbox import Sandbox
from grader.worker.messages import location_of
from grader.worker.ranks.rank import FAILURES, Answer, Rank

MAX_BYTES = 16 << 10
FIRST_SECONDS = 0.5
"""How long a stack may take to arrive; a rank that has replaced the handler sends none."""
QUIET_SECONDS = 0.05
_OF_THE_WORKER = re.compile(r'File "(?:[^"]*/runner/(?:\w+/)?\w+\.py|<string>)"')
_FOLDERS = re.compile(r'File "[^"]*/(?:site-packages|home(?:/\d+)?|tmp/\d+)/')
_FRAME = re.compile(r'File "(?P<path>[^"]*)", line (?P<line>\d{1,7}) in (?P<name>.*)')


def read_stacks(
    submission: Submission, waiting: Mapping[int, ChildProcess], states: Mapping[int, str]
) -> tuple[RankStack, ...]:
    """Return where every rank is; those that are `waiting` still run, and are not frozen."""
    asked = {rank: child for rank, child in waiting.items() if _ask(child)}
    texts = {rank: _read(child.stack_fd) for rank, child in asked.items()}
    return tuple(
        RankStack(
            rank=rank,
            state=states[rank],
            where=location_of(submission, _frames(texts.get(rank, ""))),
            text=_own_frames(texts.get(rank, "")),
        )
        for rank in sorted(states)
    )


def _own_frames(text: str) -> str:
    """Leave out the frames of the worker itself, and folders that a student does not know."""
    lines = (line for line in text.splitlines() if not _OF_THE_WORKER.search(line))
    return "\n".join(_FOLDERS.sub('File "', line) for line in lines)


def _ask(child: ChildProcess) -> bool:
    """Send the signal; return whether a stack may arrive."""
    if child.stack_fd < 0:
        return False
    with contextlib.suppress(OSError):
        if child.exit_fd >= 0:
            signal.pidfd_send_signal(child.exit_fd, STACK_SIGNAL)
        else:
            os.kill(child.pid, STACK_SIGNAL)  # no descriptors of processes: never in a sandbox
        return True
    return False


def _read(fd: int) -> str:
    """Return what arrives from a pipe until nothing more does."""
    content = b""
    begin = time.monotonic()
    wait_s = FIRST_SECONDS
    with selectors.DefaultSelector() as selector:  # `select` knows no descriptor above 1023
        selector.register(fd, selectors.EVENT_READ)
        while len(content) < MAX_BYTES and time.monotonic() < begin + 2 * FIRST_SECONDS:
            part = os.read(fd, MAX_BYTES - len(content)) if selector.select(wait_s) else b""
            if not part:
                break
            content += part
            wait_s = QUIET_SECONDS
    return content.decode("utf-8", errors="replace")


def _frames(text: str) -> list[list[object]]:
    """Return the frames of the main thread, outermost first, in the form of an exception's.

    Source: `faulthandler` writes the most recent call first, and the main thread last.
    """
    main = text.rsplit("Thread 0x", 1)[-1] if "Thread 0x" in text else text
    main = main.rsplit("Current thread 0x", 1)[-1]
    found = [_FRAME.search(line) for line in main.splitlines()]
    frames: list[list[object]] = [
        [Path(one["path"]).name, int(one["line"]), one["name"]] for one in found if one
    ]
    return frames[::-1]


EXIT_WAIT_SECONDS = 1.0
_FIRST = (
    FaultKind.INFRASTRUCTURE,
    FaultKind.BUSY,
    FaultKind.OUT_OF_MEMORY,
    FaultKind.CRASH,
    FaultKind.BAD_REPLY,
)
"""Kinds that explain why others do not answer, the strongest first."""


def ranks_fault(
    sandbox: Sandbox,
    submission: Submission,
    ranks: Sequence[Rank],
    answers: Mapping[int, Answer],
) -> Fault:
    """Return the fault of a process group in which at least one rank did not answer; it still runs.

    `answers` has the ranks that were asked, in the order of the answers.
    """
    silent = {rank: a for rank, a in answers.items() if isinstance(a, ChannelError)}
    waiting = [rank for rank, a in silent.items() if isinstance(a, CallTimeout)]
    raised = {
        rank: ranks[rank].failure_of(a)
        for rank, a in answers.items()
        if not isinstance(a, ChannelError) and FAILURES & a.keys()
    }
    states = {rank: _state(rank, answers, raised.get(rank)) for rank in range(len(ranks))}
    read = read_stacks(submission, {rank: ranks[rank].child for rank in waiting}, states)
    stacks = tuple(_with_own(stack, raised.get(stack.rank)) for stack in read)
    found: dict[int, Fault] = {}
    for rank, error in silent.items():
        wait_s = 0.0 if rank in waiting else EXIT_WAIT_SECONDS
        kind, message = classify(error, sandbox.ending(ranks[rank].child, wait_s))
        if len(ranks) > 1 and message.endswith(("SIGSEGV", "SIGABRT")):
            message += ", as when ranks call one collective with different sizes"
        found[rank] = Fault(kind=kind, message=f"rank {rank} of {len(ranks)}: {message}")
    for kind in _FIRST:
        for fault in found.values():
            if fault.kind is kind:
                return replace(fault, stacks=stacks)
    if raised:
        return _failed_alone(raised, sorted(waiting), stacks)
    return _hang(sorted(waiting), len(ranks), stacks)


def _with_own(stack: RankStack, failure: Raised | Fault | None) -> RankStack:
    """Return the stack of a rank that has raised: that of its exception."""
    if not isinstance(failure, Raised):
        return stack
    return replace(stack, where=failure.where, text=f"{failure.stack}\n{failure}".strip())


def _state(rank: int, answers: Mapping[int, Answer], failure: Raised | Fault | None) -> str:
    answer = answers.get(rank)
    if answer is None:
        return "was not asked"
    if isinstance(failure, Raised):
        return f"had raised {public_name(failure.names)}"
    if isinstance(failure, Fault):
        return "had failed"
    if isinstance(answer, CallTimeout):
        return "had not returned"
    return "had ended" if isinstance(answer, ChannelError) else "had returned"


def _failed_alone(
    raised: Mapping[int, Raised | Fault], waiting: Sequence[int], stacks: tuple[RankStack, ...]
) -> Fault:
    """Return the fault of the first rank that failed while others waited for it."""
    rank, failure = min(raised.items(), key=lambda item: _is_consequence(item[1]))
    if isinstance(failure, Raised):
        failure.who = f"rank {rank}"
        failure = fault_of(failure)
    others = f"; {_names(waiting)} waited for it"
    return replace(failure, message=failure.message + others, stacks=stacks)


def _is_consequence(failure: Raised | Fault) -> bool:
    return isinstance(failure, Raised) and is_peer_failure(failure.names, failure.text)


def _hang(waiting: Sequence[int], size: int, stacks: tuple[RankStack, ...]) -> Fault:
    who = "no rank" if len(waiting) == size else f"{_names(waiting)} of {size}"
    verb = "returned" if len(waiting) == size else "did not return"
    message = f"{who} {verb} within the time limit"
    locations = {stack.where for stack in stacks if stack.rank in waiting}
    if len(locations) > 1:
        message += ": they hang at different lines, as in collectives that do not match"
    elif len(waiting) < size:
        message += ": others returned, as when not every rank joins a collective"
    where = next((stack.where for stack in stacks if stack.rank in waiting), "")
    return Fault(kind=FaultKind.TIMEOUT, message=message, where=where, stacks=stacks)


def _names(ranks: Sequence[int]) -> str:
    listed = ", ".join(str(rank) for rank in ranks)
    return f"rank {listed}" if len(ranks) == 1 else f"ranks {listed}"


def cannot_load(raised: Raised) -> Fault:
    """Return the fault of an import; this world has received no hidden input."""
    fault = fault_of(raised)
    text = fault.detail or fault.message
    return replace(fault, message=f"the submission could not be imported: {text}", detail="")
