"""The group-sequential test: early stages, a bounded benefit of the doubt, linear points."""

import math
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from grader.performance.decide.interval import Interval, Kind, Metric
from grader.performance.decide.sequential_test import (
    ERROR_RATE,
    Outcome,
    Rule,
    decide_last_stage,
    decide_stage,
    scoring_bound,
    share,
)

RULE = Rule(stages=(4, 8, 12), resolution=0.02, min_half_width=0.005, noise_limit=0.1)
METRICS = st.floats(-10, 10)
TIERS = st.tuples(st.floats(0.01, 5), st.floats(0, 1)).map(lambda t: (t[0], t[0] * t[1]))


def interval(low, high):
    return Interval(estimate=(low + high) / 2, low=low, high=high)


def metric(
    interval, *, tier=(1.0, 0.5), within_reference_noise=True, without_outlier=False, reference=0.01
):
    return Metric(
        kind=Kind.CPU_RATIO,
        interval=interval,
        reference_half_width=reference,
        within_reference_noise=within_reference_noise,
        within_noise_without_outlier=without_outlier,
        pass_at=tier[0],
        full_at=tier[1],
    )


INTERVALS = st.tuples(METRICS, st.floats(0, 10)).map(lambda t: interval(t[0], t[0] + t[1]))


def test_every_stage_has_its_share_of_the_error_rate():
    assert RULE.error_rate * len(RULE.stages) == pytest.approx(ERROR_RATE)


@given(METRICS, METRICS, TIERS)
def test_a_better_metric_never_earns_less(one, other, tier):
    pass_at, full_at = tier
    better, worse = sorted((one, other))
    at = {"pass_at": pass_at, "full_at": full_at}
    assert 0 <= share(worse, **at) <= share(better, **at) <= 1


@given(TIERS)
def test_points_are_half_at_the_one_end_and_full_at_the_other(tier):
    pass_at, full_at = tier
    assume(full_at < 0.999 * pass_at)
    at = {"pass_at": pass_at, "full_at": full_at}
    assert share(pass_at, **at) == pytest.approx(0.5)
    assert share(full_at, **at) == 1
    assert share((pass_at + full_at) / 2, **at) == pytest.approx(0.75)
    assert share(math.nextafter(pass_at, math.inf), **at) == 0


def test_one_tier_for_both_ends_is_all_or_nothing():
    assert share(1.0, pass_at=1.0, full_at=1.0) == 1
    assert share(1.001, pass_at=1.0, full_at=1.0) == 0


@pytest.mark.parametrize(
    ("low", "high", "within_reference_noise", "outcome"),
    [
        (1.01, 1.2, True, Outcome.FAIL),
        (1.01, 1.2, False, Outcome.FAIL),
        (0.1, 0.5, True, Outcome.PASS),  # full points already
        (0.1, 0.5, False, Outcome.PASS),
        (0.80, 0.83, True, Outcome.PASS),  # fine enough
        (0.80, 0.83, False, Outcome.OPEN),
        (0.80, 0.90, True, Outcome.OPEN),
        (0.99, 1.01, True, Outcome.OPEN),
        (-math.inf, math.inf, True, Outcome.OPEN),
    ],
)
def test_a_stage_decides_only_what_no_later_stage_would_change(
    low, high, within_reference_noise, outcome
):
    seen = metric(interval(low, high), within_reference_noise=within_reference_noise)
    assert decide_stage(seen, forks=4, rule=RULE) is outcome


@pytest.mark.parametrize(
    ("low", "forks", "outcome"),
    [
        (1.1, 4, Outcome.OPEN),
        (1.1, 8, Outcome.FAIL),
        (1.5, 4, Outcome.FAIL),
    ],
)
def test_a_short_disturbance_at_the_first_stage_fails_nobody(low, forks, outcome):
    rule = replace(RULE, first_stage_margin=0.4)
    seen = metric(interval(low, low + 0.1))
    assert decide_stage(seen, forks=forks, rule=rule) is outcome


@given(INTERVALS, TIERS, st.booleans())
def test_a_stage_never_passes_beyond_the_tier_nor_fails_within(seen, tier, within_reference_noise):
    judged = metric(seen, tier=tier, within_reference_noise=within_reference_noise)
    outcome = decide_stage(judged, forks=4, rule=RULE)
    assert (outcome is Outcome.FAIL) == (seen.low > tier[0])
    if outcome is Outcome.PASS:
        assert seen.high <= tier[0]


@given(INTERVALS, TIERS, st.booleans(), st.booleans(), st.floats(0, 1))
def test_the_last_stage_decides_unless_the_machine_is_too_noisy(
    seen, tier, within_reference_noise, one, reference_half_width
):
    judged = metric(
        seen,
        tier=tier,
        within_reference_noise=within_reference_noise,
        without_outlier=one,
        reference=reference_half_width,
    )
    outcome = decide_last_stage(judged, RULE)
    straddles = seen.low <= tier[0] < seen.high
    assert outcome is not Outcome.OPEN
    wide = within_reference_noise and seen.half_width > RULE.noise_limit
    nobodys = one and not within_reference_noise
    owed = seen.half_width > RULE.resolution and seen.low <= tier[1] < seen.estimate
    wide = wide or (within_reference_noise and owed)
    noisy = straddles and (reference_half_width > RULE.noise_limit or wide or nobodys)
    assert (outcome is Outcome.TOO_NOISY) == noisy
    if straddles and not noisy:
        assert outcome is (Outcome.PASS if within_reference_noise else Outcome.FAIL)
    if not straddles:
        assert outcome is (Outcome.FAIL if seen.low > tier[0] else Outcome.PASS)


@pytest.mark.parametrize(
    ("low", "high", "tier", "outcome"),
    [
        (0.97, 1.05, (1.0, 0.98), Outcome.TOO_NOISY),  # from full points to none; 1.01 is none
        (0.94, 1.04, (1.0, 0.98), Outcome.TOO_NOISY),  # 0.99 passes, but not with all points
        (0.92, 1.03, (1.0, 0.98), Outcome.PASS),  # 0.975 earns them all
        (0.99, 1.05, (1.0, 0.98), Outcome.PASS),  # half of the points
        (0.985, 1.02, (1.0, 0.99), Outcome.PASS),  # as fine as more forks would make it
        (0.97, 1.05, (1.0, 1.0), Outcome.TOO_NOISY),  # all or nothing
    ],
)
def test_no_width_of_the_machines_earns_all_where_the_estimate_does_not(low, high, tier, outcome):
    assert decide_last_stage(metric(interval(low, high), tier=tier), RULE) is outcome


@given(INTERVALS, TIERS)
def test_noise_that_the_submission_makes_counts_against_it(seen, tier):
    assume(seen.estimate <= tier[0])
    assert scoring_bound(metric(seen, tier=tier)) == seen.low
    assert scoring_bound(metric(seen, tier=tier, within_reference_noise=False)) == seen.high


@given(INTERVALS, TIERS, st.floats(0, 1))
def test_the_benefit_of_the_doubt_is_a_pass_and_no_more(seen, tier, reference_half_width):
    assume(seen.estimate > tier[0])
    judged = metric(seen, tier=tier, reference=reference_half_width)
    assert scoring_bound(judged) >= tier[0]
    if decide_last_stage(judged, RULE) is Outcome.PASS:
        assert scoring_bound(judged) == tier[0]


@pytest.mark.parametrize(
    ("forks", "within_reference_noise", "outcome"),
    [(4, True, Outcome.OPEN), (8, True, Outcome.PASS), (8, False, Outcome.OPEN)],
)
def test_a_pass_may_be_wide_from_so_many_forks_on(forks, within_reference_noise, outcome):
    rule = replace(RULE, wide_pass_from_forks=8)
    seen = metric(interval(0.6, 0.9), within_reference_noise=within_reference_noise)
    assert decide_stage(seen, forks=forks, rule=rule) is outcome
