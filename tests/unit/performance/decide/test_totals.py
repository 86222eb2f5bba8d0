"""Totals over forks, and times without the cost of null calls."""

import math
from dataclasses import replace

import numpy as np
import pytest

from grader.assignment.target import Clock
from grader.evidence.samples import DeviceClaim, EmptyCalls, ForkSample
from grader.performance.decide.totals import (
    SPREADS,
    net_time,
    null_call_uncertainty,
    pair_counts,
    too_short,
    totals_of,
)
from tests.unit.performance.synthetic import (
    CALLS,
    EMPTY_NS,
    MIB,
    MS,
    measured,
    pair,
    planned,
    raced,
    sample,
)

FORKS = (
    ForkSample(
        pairs=(
            pair(sample(1 * MS), sample(2 * MS), size=1),
            pair(sample(3 * MS), sample(4 * MS), size=5),
            pair(sample(5 * MS), sample(6 * MS), size=1),
        )
    ),
    ForkSample(
        pairs=(pair(sample(7 * MS), sample(8 * MS), size=1), pair(sample(), sample(), size=5))
    ),
)


def net_ms(run):
    return (run.cpu_ns - CALLS * EMPTY_NS) / MS


def test_totals_are_sums_by_fork_and_size():
    submission = totals_of(FORKS, (1, 5), net_ms, submission=True)
    assert submission.tolist() == [[6, 3], [7, 100]]
    assert totals_of(FORKS, (5,), net_ms, submission=False).tolist() == [[4], [100]]
    assert pair_counts(FORKS, (1, 5)).tolist() == [[2, 1], [1, 1]]


def test_totals_have_logarithms():
    assert totals_of(FORKS, (1,), lambda run: -5.0, submission=True).tolist() == [[1], [1]]


@pytest.mark.parametrize(("clock", "net"), [(Clock.CPU, 50 * MS), (Clock.WALL, 100 * MS)])
def test_the_cost_of_as_many_null_calls_is_subtracted(clock, net):
    quantity = net_time(raced(), clock)
    assert quantity.amount(sample(50 * MS, wall_ratio=2.0)) == pytest.approx(net)
    assert quantity.amount(sample(0, calls=3)) == pytest.approx(0)
    assert quantity.null_call_error_ns > 0


def test_a_block_of_null_calls_is_no_call():
    empty = EmptyCalls(wall_ns=(7,) * 9, cpu_ns=(2000,) * 9, block=20)
    quantity = net_time(replace(raced(), empty=empty), Clock.CPU)
    assert quantity.amount(replace(sample(), cpu_ns=1000, calls=4)) == 600
    assert quantity.null_call_error_ns == 0


def test_null_call_uncertainty_shrinks_with_longer_runs():
    quantity = net_time(raced(), Clock.CPU)
    short, long = (
        (ForkSample(pairs=(pair(sample(net), sample(net)),)),) for net in (1 * MS, 100 * MS)
    )
    (small,), (large,) = (
        null_call_uncertainty(long, (1,), quantity),
        null_call_uncertainty(short, (1,), quantity),
    )
    assert large == pytest.approx(100 * small)
    one_side = CALLS * quantity.null_call_error_ns / (1 * MS)
    assert large == pytest.approx(math.hypot(one_side, one_side))


def spread_of(measurement, quarter):
    samples = np.array_split(measurement.empty.wall_ns, 4)[quarter]
    low, high = np.percentile(samples, (25, 75))
    return float(high - low)


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_a_run_is_too_short_under_so_many_spreads_of_its_calls(factor):
    spread = min(spread_of(raced(), quarter) for quarter in range(4))
    net = factor * SPREADS * spread * math.sqrt(CALLS)
    fork = ForkSample(pairs=(pair(sample(net), sample(net)),))
    assert too_short(planned(clock=Clock.WALL), measured([fork] * 4)) == (factor < 1)


def test_a_slow_submission_does_not_make_a_short_reference_long():
    fork = ForkSample(pairs=(pair(sample(900 * MS), sample(1000)),))
    assert too_short(planned(), measured([fork] * 4))
    assert not too_short(planned(), measured([]))


def with_arguments(*sizes, calls=0):
    """Return a run of 100 ms, plus 0.1 ms per call and 1 ms per MiB of arguments."""
    claims = tuple(
        DeviceClaim(wall_ns=0, events_ns=(0,), transfer_bytes=size * MIB) for size in sizes
    )
    cost_ms = 0.1 * (len(sizes) + calls) + sum(sizes)
    wall_ns = round((100 + cost_ms) * MS)
    return replace(sample(), wall_ns=wall_ns, calls=len(sizes) + calls, claims=claims)


def empty_call(size):
    ns = round((0.1 + size) * MS)
    return EmptyCalls(wall_ns=(ns,) * 24, cpu_ns=(ns,), block=1, transfer_bytes=size * MIB)


@pytest.mark.parametrize(
    "run",
    [
        with_arguments(2, 2, 8),
        with_arguments(0, 8),
        with_arguments(2, calls=3),
        with_arguments(calls=1),
    ],
)
def test_argument_transfer_overhead_is_subtracted_by_its_size(run):
    seen = measured(FORKS, empty=empty_call(0), transfers=(empty_call(2), empty_call(8)))
    assert net_time(seen, Clock.WALL).amount(run) == pytest.approx(100 * MS)


def test_a_size_that_was_not_measured_costs_what_the_next_larger_one_does():
    seen = measured(FORKS, empty=empty_call(0), transfers=(empty_call(2), empty_call(8)))
    sizes = (0, 1, 2 * MIB, 3 * MIB, 9 * MIB)
    assert [seen.empty_for(size).transfer_bytes // MIB for size in sizes] == [0, 2, 2, 8, 8]
