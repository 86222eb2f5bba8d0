"""The last stage: the benefit of the doubt, given only within the reference's noise."""

import math

import pytest

from grader.performance.decide.interval import Interval, Kind, Metric
from grader.performance.decide.sequential_test import Outcome, Rule, decide_last_stage

RULE = Rule(stages=(4, 8, 12), resolution=0.02, min_half_width=0.005, noise_limit=0.04)
AT = math.log(1.25)


def last(
    estimate: float,
    half: float,
    *,
    within_reference_noise: bool = True,
    within_noise_without_outlier: bool = False,
    reference_half_width: float = 0.01,
) -> Outcome:
    interval = Interval(estimate=estimate, low=estimate - half, high=estimate + half)
    metric = Metric(
        kind=Kind.CPU_RATIO,
        interval=interval,
        reference_half_width=reference_half_width,
        within_reference_noise=within_reference_noise,
        within_noise_without_outlier=within_noise_without_outlier,
        pass_at=AT,
        full_at=AT,
    )
    return decide_last_stage(metric, RULE)


@pytest.mark.parametrize(
    ("estimate", "half", "outcome"),
    [
        (AT - 0.10, 0.05, Outcome.PASS),
        (AT + 0.10, 0.05, Outcome.FAIL),
        (AT - 0.02, 0.03, Outcome.PASS),  # the interval contains the limit
        (AT + 0.01, 0.015, Outcome.PASS),  # as fine as more forks would make it
        (AT + 0.02, 0.03, Outcome.TOO_NOISY),  # all points by the width alone
        (AT + 0.02, 0.05, Outcome.TOO_NOISY),  # and is wider than the noise limit
    ],
)
def test_a_width_within_reference_noise(estimate, half, outcome):
    assert last(estimate, half) is outcome


@pytest.mark.parametrize("half", [0.03, 0.30])
def test_a_width_that_the_submission_makes_fails(half):
    assert last(AT + 0.02, half, within_reference_noise=False) is Outcome.FAIL


def test_a_noisy_reference_allows_no_decision():
    assert last(AT, 0.03, reference_half_width=0.05) is Outcome.TOO_NOISY
    assert (
        last(AT, 0.03, reference_half_width=0.05, within_reference_noise=False) is Outcome.TOO_NOISY
    )


@pytest.mark.parametrize(
    ("estimate", "outcome"),
    [
        (AT - 0.10, Outcome.PASS),
        (AT, Outcome.TOO_NOISY),
        (AT + 0.10, Outcome.FAIL),
    ],
)
def test_a_width_that_one_outlier_makes_allows_no_decision(estimate, outcome):
    assert (
        last(estimate, 0.05, within_reference_noise=False, within_noise_without_outlier=True)
        is outcome
    )
