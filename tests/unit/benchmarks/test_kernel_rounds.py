"""Rounds interleave, budgets bound them, intervals hold what they should."""

import numpy as np
import pytest

from benchmarks.kernels import _rounds
from benchmarks.kernels._case import Contender
from benchmarks.kernels._rounds import median, ratio, time_rounds, time_within
from tests.unit.benchmarks.fake_bench import FakeDevice, contender


def test_every_second_round_runs_in_reverse():
    device = FakeDevice()
    time_rounds(device, [contender("a", 1.0), contender("b", 2.0), contender("c", 3.0)], rounds=3)
    assert device.order == [1, 2, 3, 3, 2, 1, 1, 2, 3]


def test_samples_stay_with_their_contender():
    device = FakeDevice()
    device.seconds_of = {1.0: [10.0, 11.0], 2.0: [20.0, 21.0]}
    submission = time_rounds(device, [contender("a", 1.0), contender("b", 2.0)], rounds=2)
    assert submission.tolist() == [[10.0, 20.0], [11.0, 21.0]]


def test_preparation_comes_before_each_call_and_is_not_timed():
    said: list[str] = []
    device = FakeDevice()
    plain = contender("a", 1.0)
    made = Contender(name="a", call=plain.call, prepare=lambda: said.append("prepared"))
    time_rounds(device, [made], rounds=4)
    assert len(said) == len(device.order) == 4


@pytest.mark.parametrize(
    ("cost_s", "budget_s", "rounds"),
    [(1.0, 30.0, 30), (1.0, 0.0, _rounds.LEAST_ROUNDS), (0.0, 9.0, _rounds.MOST_ROUNDS)],
)
def test_a_budget_is_as_many_rounds_as_fit(cost_s, budget_s, rounds):
    ticks = iter([0.0, cost_s])
    submission = time_within(
        FakeDevice(), [contender("a", 1.0)], budget_s=budget_s, clock=lambda: next(ticks)
    )
    assert len(submission) == rounds


def test_where_times_mean_nothing_two_rounds_do():
    device = FakeDevice(counts=False)
    time_within(device, [contender("a", 1.0)], budget_s=1e9)
    assert len(device.order) == _rounds.SMOKE_ROUNDS


def test_intervals_cover_the_true_median_about_as_often_as_they_say():
    """Of 400 samples of 25 rounds; the percentile bootstrap of a median misses a little more."""
    random = np.random.default_rng(5)
    found = [median(random.lognormal(size=25)) for _ in range(400)]
    covered = sum(interval.low <= 1.0 <= interval.high for interval in found)
    assert 0.90 <= covered / 400 <= 0.98


def test_noise_of_whole_rounds_cancels_in_a_ratio():
    random = np.random.default_rng(6)
    noise = random.lognormal(sigma=1.0, size=30)
    found = ratio(2.0 * noise, noise)
    assert (found.low, found.estimate, found.high) == pytest.approx((2.0, 2.0, 2.0))


def test_a_single_slow_round_moves_no_median():
    assert median(np.array([1.0] * 20 + [50.0])).high == 1.0
