"""The noisy neighbour works while it is wanted, and is gone afterwards."""

import os
import subprocess
import sys
import time

import pytest

from benchmarks.verdicts.neighbour import Neighbour, neighbour
from grader.sandbox.processors import read_processors


def children() -> set[str]:
    done = subprocess.run(
        ["ps", "-ww", "--ppid", str(os.getpid()), "-o", "args="],
        capture_output=True,
        text=True,
        check=False,
    )
    return {line for line in done.stdout.splitlines() if "verdicts/neighbour.py" in line}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_it_burns_and_ends():
    with neighbour(Neighbour.NOISY):
        before = read_processors()
        time.sleep(1.5)
        after = read_processors()
        assert len(children()) == 1
    assert after.busy_ns - before.busy_ns > 200_000_000
    assert not children()


def test_idle_starts_nothing():
    with neighbour(Neighbour.NONE):
        assert not children()
