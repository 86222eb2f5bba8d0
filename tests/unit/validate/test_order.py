"""Checks and counted targets run together; timed targets run alone, afterwards."""

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from grader.validate import validate as validating
from grader.validate.known_submission import Kind


class Run:
    """Writes down when it is counted and timed."""

    is_broken_solution = False

    def __init__(self, name, log, *, has_targets, is_timed):
        kind = Kind.SOLUTION if name == "solution" else Kind.WRONG
        self.known, self.seconds = SimpleNamespace(name=name, kind=kind), 0.0
        self.has_targets, self.is_timed, self._log = has_targets, is_timed, log

    @property
    def measured(self):
        return self.known.name

    def count(self):
        self._log.append(("count", self.known.name))
        return self

    def time(self):
        self._log.append(("time", self.known.name))
        return self


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_what_is_timed_comes_last_and_results_in_the_order_of_files(jobs):
    log: list[tuple[str, str]] = []
    told: list[str] = []
    runs: Any = [Run(n, log, has_targets=n in "bcd", is_timed=n in "bd") for n in "abcd"]
    found: Any = validating._run_all(runs, jobs=jobs, on_known=lambda one, _: told.append(one.name))
    assert found == ["a", "b", "c", "d"]
    assert log[-2:] == [("time", "b"), ("time", "d")]
    assert {what for what, _ in log[:-2]} == {"count"}
    assert (sorted(told[:2]), told[2:]) == (["a", "c"], ["b", "d"])
    if jobs == 1:
        assert [name for what, name in log if what == "count"] == ["b", "c", "d", "a"]


def test_a_solution_that_fails_is_returned_alone():
    class Broken(Run):
        is_broken_solution = True

    log: list[tuple[str, str]] = []
    runs: Any = [Broken("solution", log, has_targets=True, is_timed=True)]
    runs += [Run(name, log, has_targets=True, is_timed=True) for name in "bcdefghij"]
    found: Any = validating._run_all(runs, jobs=1, on_known=lambda *_: None)
    assert found == ["solution"]
    assert len(log) < len(runs)
    assert {what for what, _ in log} == {"count"}


def test_a_solution_whose_timed_call_fails_is_returned_alone_before_others_are_timed():
    class Broken(Run):
        def time(self):
            self.is_broken_solution = True
            return super().time()

    log: list[tuple[str, str]] = []
    runs: Any = [Run("b", log, has_targets=True, is_timed=True)]
    runs.append(Broken("solution", log, has_targets=True, is_timed=True))
    found: Any = validating._run_all(runs, jobs=1, on_known=lambda *_: None)
    assert found == ["solution"]
    assert [name for what, name in log if what == "time"] == ["solution"]


def test_as_many_are_counted_together_as_there_are_jobs():
    together = threading.Barrier(3, timeout=5)

    class Waits(Run):
        def count(self):
            together.wait()
            return super().count()

    log: list[tuple[str, str]] = []
    runs: Any = [Waits(name, log, has_targets=True, is_timed=False) for name in "abc"]
    validating._run_all(runs, jobs=3, on_known=lambda *_: None)
    assert len(log) == 3


def test_who_fails_keeps_nobody_waiting():
    failed = threading.Event()

    class Fails(Run):
        def count(self):
            failed.set()
            raise OSError("no room")

    class Slow(Run):
        def count(self):
            assert failed.wait(5)
            time.sleep(0.05)
            return super().count()

    log: list[tuple[str, str]] = []
    runs: Any = [Fails("a", log, has_targets=True, is_timed=True)]
    runs += [Slow(name, log, has_targets=False, is_timed=False) for name in "bcdefghijklmnop"]
    with pytest.raises(OSError, match="no room"):
        validating._run_all(runs, jobs=2, on_known=lambda *_: None)
    assert len(log) < len(runs) - 1
