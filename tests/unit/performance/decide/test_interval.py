"""Intervals hold the truth as often as they say, and forks are what they count."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grader.performance.decide.interval import (
    Interval,
    is_within_reference_noise,
    log_contrast,
    reference_half_width,
    slope_weights,
)

ERROR_RATE = 0.05
TRIALS = 400
SLACK = 0.03
"""Three standard errors of a share of 0.05 in as many trials."""


def forks_of(rng, forks, *, ratio=1.0, spread=0.1, sizes=(1,), exponent=0.0):
    """Return both sides' totals with lognormal noise between forks."""
    noise = rng.normal(0, spread, (2, forks, len(sizes)))
    growth = np.array(sizes, dtype=float) ** exponent
    submission = 1e6 * ratio * growth * np.exp(noise[0])
    return submission, 1e6 * np.exp(noise[1])


@pytest.mark.parametrize("forks", [4, 8, 12])
def test_the_truth_is_missed_no_more_often_than_stated(forks):
    rng = np.random.default_rng(forks)
    missed = 0
    for _ in range(TRIALS):
        totals = forks_of(rng, forks, ratio=1.5)
        found = log_contrast(totals[0], totals[1], (1,), error_rate=ERROR_RATE)
        missed += not found.low <= math.log(1.5) <= found.high
    assert missed / TRIALS <= ERROR_RATE + SLACK
    assert missed  # nor so wide that they say nothing


@pytest.mark.parametrize("forks", [3, 6, 9])
def test_slopes_miss_the_truth_no_more_often_than_stated(forks):
    rng = np.random.default_rng(forks)
    sizes, missed = (8, 24, 72), 0
    for _ in range(TRIALS):
        totals = forks_of(rng, forks, sizes=sizes, exponent=0.7)
        found = log_contrast(totals[0], totals[1], sizes, error_rate=ERROR_RATE)
        missed += not found.low <= 0.7 <= found.high
    assert missed / TRIALS <= ERROR_RATE + SLACK
    assert missed


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
def test_a_slope_is_the_exponent(exponent):
    sizes = (8, 24, 72)
    totals = forks_of(
        np.random.default_rng(0), 4, ratio=7.0, spread=0.0, sizes=sizes, exponent=exponent
    )
    found = log_contrast(totals[0], totals[1], sizes, error_rate=ERROR_RATE)
    assert found.estimate == pytest.approx(exponent)
    assert found.half_width == pytest.approx(0, abs=1e-9)


def test_one_fork_says_nothing_of_the_next():
    found = log_contrast(np.array([[2.0]]), np.array([[1.0]]), (1,), error_rate=ERROR_RATE)
    assert (found.low, found.high) == (-math.inf, math.inf)
    assert found.estimate == pytest.approx(math.log(2))
    assert reference_half_width(np.array([[1.0]]), (1,), error_rate=ERROR_RATE) == math.inf


def test_the_same_samples_have_the_same_interval():
    totals = forks_of(np.random.default_rng(1), 6)
    first, second = (
        log_contrast(totals[0], totals[1], (1,), error_rate=ERROR_RATE) for _ in range(2)
    )
    assert first == second


def test_totals_are_compared_not_medians():
    submission = np.array([[1.0], [1.0], [1.0], [9.0]])
    found = log_contrast(submission, np.ones((4, 1)), (1,), error_rate=ERROR_RATE)
    assert found.estimate == pytest.approx(math.log(3))


def test_smaller_error_rates_have_wider_intervals():
    totals = forks_of(np.random.default_rng(2), 6)
    widths = [
        log_contrast(totals[0], totals[1], (1,), error_rate=e).half_width for e in (0.1, 0.05, 0.01)
    ]
    assert widths == sorted(widths)
    assert widths[0] < widths[-1]


def test_two_equal_sides_have_the_references_half_width():
    rng = np.random.default_rng(3)
    own, seen = [], []
    for _ in range(TRIALS):
        submission, reference = forks_of(rng, 8)
        own.append(reference_half_width(reference, (1,), error_rate=ERROR_RATE))
        seen.append(log_contrast(submission, reference, (1,), error_rate=ERROR_RATE).half_width)
    assert np.median(own) == pytest.approx(np.median(seen), rel=0.1)


@pytest.mark.parametrize("forks", [4, 12])
def test_a_submission_as_steady_as_the_reference_is_seldom_found_noisier(forks):
    rng = np.random.default_rng(forks)
    blamed = 0
    for _ in range(TRIALS):
        submission, reference = forks_of(rng, forks)
        seen = log_contrast(submission, reference, (1,), error_rate=ERROR_RATE).half_width
        own = reference_half_width(reference, (1,), error_rate=ERROR_RATE)
        blamed += not is_within_reference_noise(own, seen, forks, error_rate=0.001)
    assert blamed <= 3


def test_a_submission_far_noisier_than_the_reference_is_found_noisier():
    assert not is_within_reference_noise(0.01, 0.1, 12, error_rate=0.001)
    assert not is_within_reference_noise(0.0, 0.1, 12, error_rate=0.001)
    assert is_within_reference_noise(0.1, 0.1, 12, error_rate=0.001)


@given(st.lists(st.integers(1, 10_000), min_size=2, max_size=6, unique=True).map(sorted))
def test_weights_ignore_a_constant_factor_and_give_the_slope(sizes):
    weights = np.array(slope_weights(tuple(sizes)))
    assert weights.sum() == pytest.approx(0, abs=1e-6 * np.abs(weights).sum())
    assert weights @ np.log(sizes) == pytest.approx(1)


@given(st.floats(0, 5), st.floats(0, 5))
def test_widening_adds_independent_uncertainties(half, extra):
    found = Interval(estimate=1.0, low=1 - half, high=1 + half).widened(extra)
    assert found.estimate == 1
    assert found.half_width == pytest.approx(math.hypot(half, extra), abs=1e-9)
