"""Checks run together, and nothing is timed beside them."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from grader.validate import prove
from grader.validate.quiet import Quiet


def test_checks_run_together_and_wait_for_what_is_timed():
    quiet, both, inside = Quiet(2), threading.Barrier(2, timeout=5), threading.Semaphore(0)
    running: list[int] = []
    timed: list[int] = []

    def check():
        with quiet.checking():
            running.append(1)
            inside.release()
            both.wait()
            time.sleep(0.01)
            assert not timed
            running.pop()

    with ThreadPoolExecutor(3) as workers:
        checks = [workers.submit(check) for _ in range(2)]
        for _ in checks:  # both are, before the gate closes
            assert inside.acquire(timeout=5)
        with quiet.timing():
            timed.append(1)
            assert not running
            later = workers.submit(check), workers.submit(check)
            time.sleep(0.05)
            assert not running
            timed.pop()
        for one in (*checks, *later):
            one.result(timeout=5)


class Run:
    """Writes down when it is checked and finished."""

    def __init__(self, name, log, *, is_timed):
        self.specimen, self.seconds = SimpleNamespace(path=name, name=name), 0.0
        self.is_timed, self._log = is_timed, log

    def check(self):
        self._log.append(("check", self.specimen.name))
        return self

    def finish(self):
        self._log.append(("finish", self.specimen.name))
        return self.specimen.name


class Fails(Run):
    def finish(self):
        raise OSError("no room")


class Slow(Run):
    def check(self):
        time.sleep(0.05)
        return super().check()


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_timed_specimens_come_first_and_results_in_the_order_of_files(jobs):
    log: list[tuple[str, str]] = []
    told: list[str] = []
    runs: Any = [Run(name, log, is_timed=name in "bd") for name in "abcd"]
    found: Any = prove._run_all(runs, jobs=jobs, on_specimen=lambda one, _: told.append(one.name))
    assert found == ["a", "b", "c", "d"]
    assert told == ["b", "d", "a", "c"]
    assert [name for what, name in log if what == "finish"] == ["b", "d", "a", "c"]
    if jobs == 1:  # nothing is beside anything
        assert [what for what, _ in log] == ["check"] * 4 + ["finish"] * 4


def test_who_fails_keeps_nobody_waiting():
    log: list[tuple[str, str]] = []
    runs: Any = [Fails("a", log, is_timed=True)]
    runs += [Slow(name, log, is_timed=False) for name in "bcdefgh"]
    with pytest.raises(OSError, match="no room"):
        prove._run_all(runs, jobs=2, on_specimen=lambda *_: None)
    assert len(log) < len(runs)
