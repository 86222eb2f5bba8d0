"""Processor time of the machine and of single threads, read from Linux counters."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from grader.sandbox.processors import ThreadTimes, cores, read_processors, read_threads

STAT = """\
cpu  100 20 30 4000 500 6 7 80 9 10
cpu0 1 1 1 1 1 1 1 1 1 1
"""


def test_busy_and_stolen_time_are_read_apart(tmp_path):
    (tmp_path / "stat").write_text(STAT)
    tick_ns = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    read = read_processors(tmp_path / "stat")
    # Idle and waiting are not busy; guests are counted in user already.
    assert read.busy_ns == (100 + 20 + 30 + 6 + 7) * tick_ns
    assert read.stolen_ns == 80 * tick_ns


def test_a_machine_without_counters_gives_zeros(tmp_path):
    read = read_processors(tmp_path / "stat")
    assert (read.busy_ns, read.stolen_ns) == (0, 0)
    assert read.now_ns > 0


def test_the_graders_own_time_is_counted_apart():
    before = read_processors()
    end_ns = time.process_time_ns() + 20_000_000
    while time.process_time_ns() < end_ns:
        pass
    after = read_processors()
    assert after.judge_ns - before.judge_ns >= 20_000_000
    assert after.now_ns > before.now_ns
    assert after.busy_ns >= before.busy_ns


def test_cores_are_those_that_may_be_used(monkeypatch):
    assert cores() >= 1
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 5, 7}, raising=False)
    assert cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores() == 1


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="no such counters here")
def test_this_machine_is_read():
    assert read_processors().busy_ns > 0


def test_waiting_and_running_are_summed_over_threads(tmp_path):
    for pid, thread, text in ((7, 7, "5 10 1"), (7, 8, "50 100 2"), (9, 9, "500 1000 3")):
        folder = tmp_path / f"{pid}/task/{thread}"
        folder.mkdir(parents=True)
        (folder / "schedstat").write_text(f"{text}\n")
    (tmp_path / "7/task/10").mkdir()  # this one has ended
    assert read_threads((7, 9), tmp_path) == ThreadTimes(ran_ns=555, waited_ns=1110)
    assert read_threads((8,), tmp_path) == ThreadTimes(ran_ns=0, waited_ns=0)


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="no such counters here")
def test_a_process_that_must_share_a_processor_is_seen_to_wait():
    spin = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\nwhile True: pass"
    with contextlib.ExitStack() as stack:
        pids = []
        for _ in range(2):
            process = subprocess.Popen([sys.executable, "-c", spin])
            stack.callback(process.wait)
            stack.callback(process.kill)
            pids.append(process.pid)
        end_s = time.monotonic() + 20.0
        while read_threads(pids[:1]).waited_ns < 50_000_000 and time.monotonic() < end_s:
            time.sleep(0.05)
        times = read_threads(pids[:1])
    assert times.waited_ns >= 50_000_000
    assert times.ran_ns > 0
