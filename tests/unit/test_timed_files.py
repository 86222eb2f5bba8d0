"""Tests that time submissions run in one process, one after the other."""

from pathlib import Path

from tests.conftest import TIMED_FILES, TimedInOneProcess

TESTS = Path(__file__).resolve().parents[1]


def test_every_file_that_races_is_listed():
    stems = {path.stem for path in TESTS.rglob("test_*.py")}
    assert stems >= TIMED_FILES
    racing = {
        path.stem
        for path in (TESTS / "hostile").glob("test_*.py")
        if any(fixture in path.read_text("utf-8") for fixture in ("race_ranks(", " race("))
    }
    assert racing <= TIMED_FILES


def test_they_are_one_unit_of_work() -> None:
    scheduler = object.__new__(TimedInOneProcess)
    scope = scheduler._split_scope
    assert scope("tests/flows/test_demo.py::test_a[x::y]") == "timed"
    assert scope("tests/hostile/test_18_impossible_time.py::test_b") == "timed"
    assert scope("tests/unit/test_batch.py::test_c") == "tests/unit/test_batch.py"
