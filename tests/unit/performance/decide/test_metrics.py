"""From samples to metrics, and which of them decide."""

import math
from dataclasses import replace

import numpy as np
import pytest

from grader.assignment.target import Clock, Quantity
from grader.evidence.samples import EmptyCalls, ForkSample
from grader.performance.decide.interval import Kind
from grader.performance.decide.metrics import RULES, decide
from grader.performance.decide.sequential_test import Outcome
from tests.unit.performance.synthetic import (
    GROWTH_TIER,
    MS,
    TIER,
    counted,
    heated,
    measured,
    pair,
    planned,
    raced,
    sample,
)

SIZES = (8, 24, 72)
LAST = {quantity: rule.stages[-1] for quantity, rule in RULES.items()}


def timed(seen, *, clock=Clock.CPU):
    return decide(planned(clock=clock), TIER, seen)


def grown(seen):
    return decide(planned(Quantity.GROWTH, sizes=SIZES, tier=GROWTH_TIER), GROWTH_TIER, seen)


def kinds(decision):
    return [metric.kind for metric in decision.metrics[: decision.deciding]]


@pytest.mark.parametrize(
    ("ratio", "outcome", "share"),
    [
        (0.5, Outcome.PASS, 1.0),
        (1.0, Outcome.PASS, 1.0),
        (1.35, Outcome.PASS, 0.75),
        (1.6, Outcome.OPEN, 0.0),  # four forks are over in a second
        (3.0, Outcome.FAIL, 0.0),
        (1.5, Outcome.OPEN, 0.0),
    ],
)
def test_a_ratio_earns_what_the_tier_says(ratio, outcome, share):
    decision = timed(raced(ratio=ratio))
    assert decision.outcome is outcome
    assert decision.share == pytest.approx(share, abs=0.05)
    assert math.exp(decision.metrics[0].interval.estimate) == pytest.approx(ratio, rel=0.02)


def test_the_cost_of_null_calls_is_no_part_of_the_ratio():
    # With the calls counted in, the ratio would be 11 to 2.
    slow, fast = sample(10 * MS, calls=10), sample(1 * MS, calls=10)
    decision = timed(measured([ForkSample(pairs=(pair(slow, fast),) * 4)] * 4))
    assert math.exp(decision.metrics[0].interval.estimate) == pytest.approx(10, rel=0.01)


def test_the_same_samples_have_the_same_decision():
    assert timed(raced()) == timed(raced())


def test_every_second_call_slow_is_slow():
    slow = ForkSample(pairs=(pair(sample(300 * MS), sample()), pair(sample(), sample())) * 2)
    assert timed(measured([slow] * 8)).outcome is Outcome.FAIL


def test_the_benefit_of_the_doubt_is_given_within_reference_noise():
    last = LAST[Quantity.TIME]
    seen = timed(raced(forks=last, ratio=1.5, noise=0.03))
    assert seen.metrics[0].within_reference_noise
    assert seen.outcome is Outcome.PASS
    own = timed(raced(forks=last, ratio=1.5, noise=0.2, own_noise=0.005))
    assert not own.metrics[0].within_reference_noise
    assert own.outcome is Outcome.FAIL


def test_a_noisy_machine_decides_nothing_that_is_close():
    last = LAST[Quantity.TIME]
    assert timed(raced(forks=last, ratio=1.5, noise=0.4)).outcome is Outcome.TOO_NOISY
    assert timed(raced(forks=last, ratio=9.0, noise=0.4)).outcome is Outcome.FAIL
    assert timed(raced(forks=last, ratio=0.2, noise=0.4)).outcome is Outcome.PASS


def test_who_sleeps_is_judged_by_the_clock():
    decision = timed(raced(wall_ratio=3.0))
    assert decision.outcome is Outcome.FAIL
    assert kinds(decision) == [Kind.WALL_RATIO]
    assert [metric.kind for metric in decision.metrics] == [Kind.WALL_RATIO, Kind.CPU_RATIO]


def beside_neighbours(race, *, ran=1.0, waited=0.0, read=True):
    """Return a race in which both processors were busy with others all the time.

    `ran` is the share of the submission's work by threads that live at the end, `waited` the time
    that those waited, as a share of its processor time; `read` is whether that was read at all.
    """

    def change(pair):
        run = pair.submission
        queued_ns = round(waited * run.cpu_ns) if read else None
        known = replace(run, ran_ns=round(ran * run.cpu_ns), queued_ns=queued_ns)
        return replace(pair, submission=known, foreign_ns=2 * run.wall_ns)

    forks = [replace(fork, pairs=tuple(map(change, fork.pairs))) for fork in race.forks]
    return replace(race, forks=tuple(forks))


def test_beside_neighbours_who_sleeps_is_judged_by_the_clock():
    decision = timed(beside_neighbours(raced(wall_ratio=3.0)))
    assert (decision.outcome, kinds(decision)) == (Outcome.FAIL, [Kind.WALL_RATIO])


def test_beside_neighbours_who_waits_is_judged_by_the_processor():
    decision = timed(beside_neighbours(raced(wall_ratio=3.0), waited=2.0))
    assert (decision.outcome, kinds(decision)) == (Outcome.PASS, [Kind.CPU_RATIO])


@pytest.mark.parametrize(("forks", "outcome"), [(4, Outcome.OPEN), (24, Outcome.TOO_NOISY)])
def test_who_may_have_slept_beside_neighbours_does_not_pass(forks, outcome):
    """Its threads have ended, and nobody can tell what they waited."""
    decision = timed(beside_neighbours(raced(forks=forks, wall_ratio=3.0), ran=0.01))
    assert (decision.outcome, kinds(decision)) == (outcome, [Kind.CPU_RATIO])
    assert decision.share == 0.0


def test_who_may_have_slept_and_is_slow_fails_all_the_same():
    slow = beside_neighbours(raced(ratio=5.0, forks=8, wall_ratio=3.0), ran=0.01)
    assert timed(slow).outcome is Outcome.FAIL


def test_samples_without_the_threads_times_are_judged_as_ever():
    """Such as those that were recorded before they were read."""
    decision = timed(beside_neighbours(raced(wall_ratio=3.0), read=False))
    assert (decision.outcome, kinds(decision)) == (Outcome.PASS, [Kind.CPU_RATIO])


def test_a_clock_that_runs_a_little_longer_decides_nothing():
    assert kinds(timed(raced(wall_ratio=1.05))) == [Kind.CPU_RATIO]


def test_several_processors_at_once_do_not_hide_their_time():
    assert timed(raced(ratio=2.0, wall_ratio=0.5, forks=8)).outcome is Outcome.FAIL
    decision = timed(raced(ratio=2.0, wall_ratio=0.5), clock=Clock.WALL)
    assert decision.outcome is Outcome.PASS
    assert kinds(decision) == [Kind.WALL_RATIO]


def test_growth_decides_by_slope_and_by_the_largest_size():
    decision = grown(raced(forks=3, turns=1, sizes=SIZES, exponent=1.0, ratio=5.0))
    assert decision.outcome is Outcome.FAIL
    assert kinds(decision) == [Kind.CPU_GROWTH, Kind.CPU_LARGEST]
    growth, largest = decision.metrics[:2]
    assert growth.interval.estimate == pytest.approx(1.0, abs=0.05)
    assert math.exp(largest.interval.estimate) == pytest.approx(5.0, rel=0.05)
    assert largest.interval.high < largest.pass_at


def test_the_worst_of_the_deciding_metrics_earns_the_points():
    decision = grown(raced(forks=6, turns=1, sizes=SIZES, exponent=0.35, ratio=1.0))
    assert decision.outcome is Outcome.PASS
    assert decision.share == pytest.approx(0.75, abs=0.06)


def test_slow_everywhere_is_no_growth_up_to_the_limit():
    seen = [raced(forks=3, turns=1, sizes=SIZES, ratio=ratio) for ratio in (4.0, 12.0)]
    assert [grown(one).outcome for one in seen] == [Outcome.PASS, Outcome.FAIL]
    growth, largest = grown(seen[1]).metrics[:2]
    assert growth.interval.high < growth.full_at
    assert largest.interval.low > largest.pass_at


def test_growth_on_the_clock_decides_only_where_time_is_waited():
    slept = raced(forks=3, turns=1, sizes=SIZES, wall_ratio=20.0)
    decision = grown(slept)
    assert kinds(decision) == [Kind.CPU_GROWTH, Kind.WALL_LARGEST]
    assert decision.outcome is Outcome.FAIL


@pytest.mark.parametrize(
    ("ratio", "outcome"), [(0.5, Outcome.PASS), (1.0, Outcome.PASS), (2.0, Outcome.FAIL)]
)
def test_memory_and_traffic_are_ratios(ratio, outcome):
    memory = decide(planned(Quantity.MEMORY), TIER, counted(ratio=ratio))
    assert (memory.outcome, kinds(memory)) == (outcome, [Kind.MEMORY])
    traffic = decide(planned(Quantity.TRAFFIC), TIER, counted(traffic_ratio=ratio))
    assert (traffic.outcome, kinds(traffic)) == (outcome, [Kind.TRAFFIC])
    assert math.exp(traffic.metrics[0].interval.estimate) == pytest.approx(ratio)


@pytest.mark.parametrize("quantity", [Quantity.MEMORY, Quantity.TRAFFIC])
def test_what_nothing_counts_is_not_decided(quantity):
    decision = decide(planned(quantity), TIER, replace(counted(), metered=False))
    assert (decision.unmetered, decision.outcome) == (True, Outcome.OPEN)
    assert decision.metrics == ()


def test_without_counters_the_clock_decides_alone():
    decision = timed(raced(ratio=3.0, metered=False))
    assert (decision.outcome, decision.unmetered) == (Outcome.FAIL, False)
    assert [metric.kind for metric in decision.metrics] == [Kind.WALL_RATIO]


def test_the_uncertainty_of_null_calls_widens_the_interval():
    seen = raced(noise=0.0, reference_ms=20)
    loud = EmptyCalls(
        wall_ns=tuple(range(0, 200_000, 4000)), cpu_ns=tuple(range(0, 200_000, 4000)), block=1
    )
    widths = [
        timed(replace(seen, empty=e)).metrics[0].interval.half_width for e in (seen.empty, loud)
    ]
    assert widths[1] > 10 * widths[0]


@pytest.mark.parametrize("ratio", [0.5, 3.0])
@pytest.mark.parametrize(
    ("forks", "hot", "outcome"),
    [
        (4, (1,), Outcome.OPEN),  # none of four may be left out: another stage
        (8, (1, 2), Outcome.OPEN),
        (24, (1, 2, 3, 4, 5), Outcome.TOO_NOISY),
        (8, (0, 1, 2, 4, 5), Outcome.TOO_NOISY),  # more than could ever be left out
    ],
)
def test_no_verdict_on_time_rests_on_a_device_that_throttled(ratio, forks, hot, outcome):
    decision = timed(heated(raced(ratio=ratio, forks=forks), hot))
    assert (decision.outcome, decision.share) == (outcome, 0.0)
    assert f"in {len(hot)} of {forks} forks" in decision.throttling


@pytest.mark.parametrize(("ratio", "outcome"), [(0.5, Outcome.PASS), (3.0, Outcome.FAIL)])
@pytest.mark.parametrize(("forks", "hot"), [(8, (5,)), (12, (2, 7))])
def test_forks_that_may_be_left_out_cost_nothing(ratio, outcome, forks, hot):
    decision = timed(heated(raced(ratio=ratio, forks=forks), hot))
    assert (decision.outcome, decision.throttling) == (outcome, "")
    assert decision.included_pairs == decision.all_pairs - 4 * len(hot)


def test_bytes_do_not_change_with_the_clocks_of_a_device():
    target = planned(Quantity.TRAFFIC)
    decision = decide(target, TIER, heated(counted(), (0, 1, 2)))
    assert (decision.outcome, decision.throttling) == (Outcome.PASS, "")


def test_a_time_shorter_than_the_null_call_spread_decides_nothing():
    empty = EmptyCalls(wall_ns=(1000, 900_000) * 60, cpu_ns=(1000, 900_000) * 6, block=1)
    drowned = replace(raced(reference_ms=1), empty=empty)
    assert timed(drowned).outcome in (Outcome.OPEN, Outcome.TOO_NOISY)


def odd_forks(count, ratio):
    """Return the decision on 24 forks below the target, the first of which are slower."""
    forks = raced(ratio=1.47, forks=LAST[Quantity.TIME], noise=0.002).forks

    def slower(one):
        run = one.submission
        return replace(one, submission=replace(run, cpu_ns=int(run.cpu_ns * ratio)))

    odd = [ForkSample(pairs=tuple(slower(one) for one in fork.pairs)) for fork in forks[:count]]
    return timed(measured([*odd, *forks[count:]]))


@pytest.mark.parametrize(
    ("count", "ratio", "outcome"),
    [
        (0, 1.0, Outcome.PASS),
        (1, 1.4, Outcome.TOO_NOISY),  # as likely the machine's doing
        (1, 3.0, Outcome.FAIL),  # no machine does that
        (3, 1.4, Outcome.FAIL),
    ],
)
def test_one_odd_fork_neither_fails_nor_passes(count, ratio, outcome):
    assert odd_forks(count, ratio).outcome is outcome


def shaken(exponent, noise, seed):
    """Return a race on a machine that makes every run of both sides longer or shorter by chance."""
    rng = np.random.default_rng(seed)

    def ns(size, power):
        return 100 * MS * (size / SIZES[-1]) ** (1 + power) * np.exp(rng.normal(0, noise))

    def fork():
        runs = ((sample(ns(size, exponent)), sample(ns(size, 0.0))) for size in SIZES)
        return ForkSample(
            pairs=tuple(pair(*run, size=size) for run, size in zip(runs, SIZES, strict=True))
        )

    return measured([fork() for _ in range(LAST[Quantity.GROWTH])])


@pytest.mark.parametrize(
    ("exponent", "noise"), [(0.25, 0.35), (0.4, 0.2), (0.4, 0.35), (0.55, 0.2), (0.55, 0.35)]
)
def test_however_noisy_the_machine_no_more_is_earned_than_the_estimate_and_a_pass(exponent, noise):
    decisions = [grown(shaken(exponent, noise, seed)) for seed in range(20)]
    doubtful = [d for d in decisions if d.metrics[0].interval.high > GROWTH_TIER.pass_at]
    assert len(doubtful) > 3
    for decision in doubtful:
        estimate = decision.metrics[0].interval.estimate
        assert decision.share < 1 or estimate <= GROWTH_TIER.full_at
        assert decision.share <= 0.5 or estimate <= GROWTH_TIER.pass_at
