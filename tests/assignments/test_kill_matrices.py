"""The kill matrices of before the move to today's folders and of after it say the same."""

import json
from pathlib import Path

import pytest

from tests.assignments.test_every_assignment import SLUGS

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
BEFORE, AFTER = (
    json.loads((RESULTS / f"kill_matrices_{when}.json").read_text("utf-8"))
    for when in ("before", "after")
)


def test_every_assignment_was_compared():
    assert set(BEFORE) == set(AFTER) <= set(SLUGS)


@pytest.mark.parametrize("slug", sorted(BEFORE))
def test_every_known_submission_fails_what_it_failed(slug):
    assert AFTER[slug]["seed"] == BEFORE[slug]["seed"]
    assert AFTER[slug]["submissions"] == BEFORE[slug]["submissions"]


@pytest.mark.parametrize("slug", sorted(BEFORE))
def test_every_check_catches_what_it_caught(slug):
    assert AFTER[slug]["checks"] == BEFORE[slug]["checks"]
    assert AFTER[slug]["trivial"] == BEFORE[slug]["trivial"]


@pytest.mark.parametrize("slug", sorted(AFTER))
def test_every_check_is_the_only_catcher_of_something(slug):
    assert all(check["alone"] for check in AFTER[slug]["checks"].values())
