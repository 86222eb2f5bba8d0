"""The last look: doubt is given while the reference explains it, and only so far."""

import math

import pytest

from grader.performance.decide.interval import Interval
from grader.performance.decide.sequential_test import Outcome, Rule, decide_last_stage

RULE = Rule(stages=(4, 8, 12), resolution=0.02, floor=0.005, noise_limit=0.04)
AT = math.log(1.25)


def last(
    estimate: float,
    half: float,
    *,
    explained: bool = True,
    by_one_fork: bool = False,
    own: float = 0.01,
) -> Outcome:
    interval = Interval(estimate=estimate, low=estimate - half, high=estimate + half)
    return decide_last_stage(
        interval, pass_at=AT, explained=explained, by_one_fork=by_one_fork, own=own, rule=RULE
    )


@pytest.mark.parametrize(
    ("estimate", "half", "outcome"),
    [
        (AT - 0.10, 0.05, Outcome.PASS),
        (AT + 0.10, 0.05, Outcome.FAIL),
        (AT + 0.02, 0.03, Outcome.PASS),  # in doubt
        (AT + 0.02, 0.05, Outcome.TOO_NOISY),  # in more doubt than is given
    ],
)
def test_an_explained_width(estimate, half, outcome):
    assert last(estimate, half) is outcome


@pytest.mark.parametrize("half", [0.03, 0.30])
def test_a_home_made_width_fails(half):
    assert last(AT + 0.02, half, explained=False) is Outcome.FAIL


def test_a_noisy_reference_leaves_it_open():
    assert last(AT, 0.03, own=0.05) is Outcome.TOO_NOISY
    assert last(AT, 0.03, own=0.05, explained=False) is Outcome.TOO_NOISY


@pytest.mark.parametrize(
    ("estimate", "outcome"),
    [
        (AT - 0.10, Outcome.PASS),
        (AT, Outcome.TOO_NOISY),
        (AT + 0.10, Outcome.FAIL),
    ],
)
def test_a_width_that_one_fork_makes_is_nobodys(estimate, outcome):
    assert last(estimate, 0.05, explained=False, by_one_fork=True) is outcome
