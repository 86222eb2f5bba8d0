"""A noisy neighbour: a process that uses up processor time and memory bandwidth.

It works and rests in turns of random length, on whichever processor Linux gives it. So some pairs
are disturbed on both sides, some on one side, and some not at all. Not covered: neighbours in other
virtual machines; the time that they take is counted as stolen time.
"""

import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from enum import StrEnum

import numpy as np

BLOCK_NUMBERS = 4 << 20
"""Numbers of 8 bytes: 32 MiB, more than most caches hold."""
LONGEST_TURN_S = 0.6
WARM_UP_S = 0.5


class Neighbour(StrEnum):
    """What else runs on the machine."""

    NONE = "idle"
    NOISY = "noisy neighbour"


@contextlib.contextmanager
def neighbour(kind: Neighbour) -> Iterator[None]:
    """Run such a neighbour during the block; it ends with the block or with this process."""
    if kind is Neighbour.NONE:
        yield
        return
    command = [sys.executable, __file__, str(os.getpid())]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        time.sleep(WARM_UP_S)
        yield
    finally:
        process.kill()
        process.wait()


def disturb(parent: int) -> None:
    """Work and rest in turns until the process `parent` ends."""
    turns = random.Random()
    source, goal = np.ones(BLOCK_NUMBERS), np.empty(BLOCK_NUMBERS)
    while os.getppid() == parent:
        end_s = time.monotonic() + turns.uniform(0, LONGEST_TURN_S)
        while time.monotonic() < end_s:
            np.multiply(source, 1.5, out=goal)
        time.sleep(turns.uniform(0, LONGEST_TURN_S))


if __name__ == "__main__":
    disturb(int(sys.argv[1]))
