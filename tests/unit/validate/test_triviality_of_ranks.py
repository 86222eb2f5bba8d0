"""Trivial answers of ranks: a world per case is slow, so a check that has failed is left."""

from collections import Counter

import pytest

from grader.author.declare import load_folder
from grader.plan.course import open_course
from grader.validate import triviality
from grader.validate.triviality import Trivial, lint
from tests.hostile.conftest import RANK_TARGET


def test_a_check_that_has_failed_starts_no_other_world(monkeypatch: pytest.MonkeyPatch):
    course = open_course(
        RANK_TARGET / "assignments" / "rank_target",
        RANK_TARGET / "reference" / "rank_target",
        device="cpu",
        seed="s",
    )
    ran: Counter[str] = Counter()
    drive = triviality.drive

    def counted(*args, check, **keywords):
        ran[check] += 1
        return drive(*args, check=check, **keywords)

    monkeypatch.setattr(triviality, "drive", counted)
    monkeypatch.setattr(triviality, "Trivial", (Trivial.NOTHING, Trivial.COPIED_INPUT))
    results = lint(course, vars(load_folder(course.reference, "solution")), {})
    by_kind = {(result.problem, result.trivial): result for result in results}
    assert by_kind["average", Trivial.NOTHING].caught
    assert by_kind["Shard", Trivial.NOTHING].caught
    assert ran["values"] < 2 * 4  # four cases, of which a reply of None fails in the first
    assert ran["moves"] < 2 * 2
