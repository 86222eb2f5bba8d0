"""The processor time of the whole machine, read from Linux counters."""

import os
import time
from pathlib import Path

import pytest

from grader.performance.measure.overhead import cores, read_processors

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
