"""Where each rank of a group stood when it came to no end.

Takes: ranks that still run. Gives: `RankStack`s. Does not cover: what follows from them: nothing
does, they are the submission's own words, for its author.

A handler in each rank, written in C, writes the Python stack of every thread into a pipe when a
signal comes, also in the middle of a collective. What comes is capped, and only lines that exist in
the submission become a place.
"""

import contextlib
import os
import re
import select
import signal
import time
from collections.abc import Mapping
from pathlib import Path

from grader.intake.submission import Submission
from grader.measure.observed import RankStack
from grader.measure.source_map import place_of
from grader.runner.rank_signal import STACK_SIGNAL
from grader.sandbox.child_process import ChildProcess

MAX_BYTES = 16 << 10
FIRST_SECONDS = 0.5
"""How long a stack may take to begin; a rank that has replaced the handler has none."""
QUIET_SECONDS = 0.05
_OF_THE_BOX = re.compile(r'File "(?:[^"]*/runner/\w+\.py|<string>)"')
_FOLDERS = re.compile(r'File "[^"]*/(?:site-packages|home(?:/\d+)?|tmp/\d+)/')
_FRAME = re.compile(r'File "(?P<path>[^"]*)", line (?P<line>\d{1,7}) in (?P<name>.*)')


def read_stacks(
    submission: Submission, waiting: Mapping[int, ChildProcess], states: Mapping[int, str]
) -> tuple[RankStack, ...]:
    """Return where every rank stands.

    Args:
        submission: what the ranks run.
        waiting: ranks that still run; they are not frozen.
        states: by rank, in our words, of all ranks.
    """
    asked = {rank: child for rank, child in waiting.items() if _ask(child)}
    texts = {rank: _read(child.stack_fd) for rank, child in asked.items()}
    return tuple(
        RankStack(
            rank=rank,
            state=states[rank],
            where=place_of(submission, _frames(texts.get(rank, ""))),
            text=_own_frames(texts.get(rank, "")),
        )
        for rank in sorted(states)
    )


def _own_frames(text: str) -> str:
    """Leave out the frames of the box itself, and the folders that a student does not know."""
    lines = (line for line in text.splitlines() if not _OF_THE_BOX.search(line))
    return "\n".join(_FOLDERS.sub('File "', line) for line in lines)


def _ask(child: ChildProcess) -> bool:
    """Send the signal; return whether a stack may come."""
    if child.stack_fd < 0:
        return False
    with contextlib.suppress(OSError):
        if child.exit_fd >= 0:
            signal.pidfd_send_signal(child.exit_fd, STACK_SIGNAL)
        else:
            os.kill(child.pid, STACK_SIGNAL)  # no descriptors of processes: not behind a wall
        return True
    return False


def _read(fd: int) -> str:
    """Return what comes out of a pipe until it is quiet."""
    content = b""
    begin = time.monotonic()
    wait_s = FIRST_SECONDS
    while len(content) < MAX_BYTES and time.monotonic() < begin + 2 * FIRST_SECONDS:
        ready, _, _ = select.select([fd], [], [], wait_s)
        part = os.read(fd, MAX_BYTES - len(content)) if ready else b""
        if not part:
            break
        content += part
        wait_s = QUIET_SECONDS
    return content.decode("utf-8", errors="replace")


def _frames(text: str) -> list[list[object]]:
    """Return the frames of the main thread, outermost first, as an exception's would come.

    Source: `faulthandler` writes the most recent call first, and the main thread last.
    """
    main = text.rsplit("Thread 0x", 1)[-1] if "Thread 0x" in text else text
    main = main.rsplit("Current thread 0x", 1)[-1]
    found = [_FRAME.search(line) for line in main.splitlines()]
    frames: list[list[object]] = [
        [Path(one["path"]).name, int(one["line"]), one["name"]] for one in found if one
    ]
    return frames[::-1]
