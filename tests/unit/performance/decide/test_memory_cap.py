"""Which memory cap comes next, and what the caps that sufficed earn."""

import math
from dataclasses import replace

import pytest

from grader.assignment.target import Quantity, Tier
from grader.evidence.samples import ForkSample, MemoryCap
from grader.judge.targets import describe
from grader.performance.decide.memory_cap import (
    GRAIN_BYTES,
    MEMORY_STAGES,
    decide_memory_cap,
    next_ratio,
)
from grader.performance.decide.metrics import decide
from grader.performance.decide.sequential_test import Outcome
from tests.unit.performance.synthetic import MIB, measured, pair, planned, sample

TIER = Tier(pass_at=2.0, full_at=1.2)
OWN_BYTES = 256 * MIB
ALL = 100.0
"""All of the device, as a ratio to the reference's peak."""


def fork(ratio, need):
    """Return a fork in which a submission that needs `need` was left `ratio`."""
    cap = MemoryCap(limit_bytes=round(ratio * OWN_BYTES), ratio=ratio, sufficed=need <= ratio)
    submission = replace(sample(peak_bytes=cap.limit_bytes), caps=(cap,))
    return ForkSample(pairs=(pair(submission, sample(peak_bytes=OWN_BYTES)),))


def play(need, *, tier=TIER, all_of_it=ALL):
    """Return the forks of a submission that needs `need`, as many as it takes to decide."""
    forks: tuple[ForkSample, ...] = ()
    for goal in MEMORY_STAGES:
        while len(forks) < goal:
            ratio = next_ratio(tier, forks)
            forks = (*forks, fork(all_of_it if math.isinf(ratio) else ratio, need))
        if decide_memory_cap(tier, forks)[0] is not Outcome.OPEN:
            break
    return forks


def ratios(forks):
    return [one.pairs[0].submission.caps[0].ratio for one in forks]


def test_all_of_the_device_then_full_points_then_a_pass_then_between():
    assert ratios(play(1.5)) == pytest.approx([ALL, 1.2, 2.0, 1.549, 1.363, 1.453], abs=1e-3)


@pytest.mark.parametrize(
    ("need", "outcome", "share", "forks"),
    [
        (0.3, Outcome.PASS, 1.0, 2),
        (1.2, Outcome.PASS, 1.0, 2),
        (1.21, Outcome.PASS, 0.95, 6),
        (1.5, Outcome.PASS, 0.78, 6),
        (2.0, Outcome.PASS, 0.5, 6),
        (2.01, Outcome.FAIL, 0.0, 3),
        (50.0, Outcome.FAIL, 0.0, 3),
    ],
)
def test_what_a_need_earns(need, outcome, share, forks):
    played = play(need)
    found, earned, metric = decide_memory_cap(TIER, played)
    assert (found, len(played)) == (outcome, forks)
    assert earned == pytest.approx(share, abs=0.02)
    low, high = math.exp(metric.interval.low), math.exp(metric.interval.high)
    assert low < need <= high or need == pytest.approx(low)


def test_one_tier_needs_two_forks():
    tier = Tier(pass_at=1.5, full_at=1.5)
    for need, outcome in ((1.5, Outcome.PASS), (1.6, Outcome.FAIL)):
        played = play(need, tier=tier)
        assert len(played) == 2
        assert decide_memory_cap(tier, played)[0] is outcome


def test_a_device_that_is_smaller_than_a_pass_needs():
    played = play(1.3, all_of_it=1.6)
    assert max(ratios(played)) == 1.6
    assert decide_memory_cap(TIER, played)[0] is Outcome.PASS


def test_nobody_needs_less_than_a_grain():
    _, _, metric = decide_memory_cap(TIER, play(0.01))
    assert math.exp(metric.interval.low) == pytest.approx(GRAIN_BYTES / OWN_BYTES)


@pytest.mark.parametrize("metered", [False, True])
def test_a_target_is_decided_by_memory_caps_wherever_there_are_any(metered):
    target = planned(Quantity.MEMORY, tier=TIER)
    decision = decide(target, TIER, measured(play(3.0), metered=metered))
    assert (decision.outcome, decision.unmetered) == (Outcome.FAIL, False)
    text = "Memory of the device: more than 2.00, at most 100.00 times the reference's"
    assert describe(decision.metrics[0]).startswith(text)
    assert not decide(target, TIER, measured(play(1.0), metered=metered)).share < 1.0
