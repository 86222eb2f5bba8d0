"""Sums over the runs of a fork, and times without what empty calls cost.

Takes: samples. Gives: totals per fork and size. Pure. Does not cover: intervals (see
`measure.figures`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from grader.measure.samples import EmptyCalls, ForkSample, RunSample, TargetMeasurement
from grader.plan.plan import PlannedTarget
from grader.plan.target import Clock
from grader.statistics.interval import Totals

Amount = Callable[[RunSample], float]
"""What is added up: a time in nanoseconds, or bytes."""

SPREADS = 20
"""A timed run must be longer than this many spreads (IQR) of as many empty calls as it has."""


def totals_of(
    forks: tuple[ForkSample, ...], sizes: tuple[int, ...], amount: Amount, *, subject: bool
) -> Totals:
    """Return the total per fork and size; at least 1, so that logarithms exist."""
    rows = [
        [
            max(
                sum(amount(p.subject if subject else p.reference) for p in f.pairs if p.size == s),
                1.0,
            )
            for s in sizes
        ]
        for f in forks
    ]
    return np.array(rows, dtype=np.float64).reshape(len(forks), len(sizes))


def pair_counts(forks: tuple[ForkSample, ...], sizes: tuple[int, ...]) -> Totals:
    """Return how many pairs each total adds up: forks lose different numbers of them."""
    rows = [[float(sum(p.size == s for p in f.pairs)) for s in sizes] for f in forks]
    return np.array(rows, dtype=np.float64).reshape(len(forks), len(sizes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge:
    """What is added up over runs.

    Attributes:
        amount: of one run.
        call_doubt_ns: standard error of what is taken off for each call; 0 if nothing is.
    """

    amount: Amount
    call_doubt_ns: float = 0.0


def net_time(measured: TargetMeasurement, clock: Clock) -> Gauge:
    """Return the time of a run without what as many empty calls cost."""
    empty = _empty_call(measured.empty, clock)
    if clock is Clock.WALL and measured.lending:
        return _net_of_lending(measured)

    def net(run: RunSample) -> float:
        gross_ns = run.cpu_ns if clock is Clock.CPU else run.wall_ns
        return gross_ns - run.calls * empty.median_ns

    return Gauge(amount=net, call_doubt_ns=empty.doubt_ns)


def _net_of_lending(measured: TargetMeasurement) -> Gauge:
    """Return the time of a run without what empty calls cost that lend as much memory."""

    def net(run: RunSample) -> float:
        lent = [claim.lent_bytes for claim in run.claims] + [0] * (run.calls - len(run.claims))
        calls = (_empty_call(measured.empty_for(size), Clock.WALL) for size in lent)
        return run.wall_ns - sum(call.median_ns for call in calls)

    known = (_empty_call(empty, Clock.WALL) for empty in (measured.empty, *measured.lending))
    return Gauge(amount=net, call_doubt_ns=max(call.doubt_ns for call in known))


def doubt_of(
    forks: tuple[ForkSample, ...], sizes: tuple[int, ...], gauge: Gauge
) -> tuple[float, ...]:
    """Return by size how far the log ratio of totals may be off through what was taken off."""
    doubts: list[float] = []
    for size in sizes:
        sides: list[float] = []
        for subject in (True, False):
            runs = [
                p.subject if subject else p.reference
                for f in forks
                for p in f.pairs
                if p.size == size
            ]
            off_ns = gauge.call_doubt_ns * sum(run.calls for run in runs)
            sides.append(off_ns / max(sum(gauge.amount(run) for run in runs), 1.0))
        doubts.append(math.hypot(*sides))
    return tuple(doubts)


def too_short(target: PlannedTarget, measured: TargetMeasurement) -> bool:
    """Return whether the reference's runs drown in the spread of what is taken off them.

    Asked when an assignment is proven, not while it grades: sizes are the author's choice. Noise
    that comes and goes is not, so the spread is that of the quietest quarter of the empty calls.
    """
    clock = target.clock if measured.metered else Clock.WALL
    net = net_time(measured, clock)
    known = (measured.empty, *measured.lending) if clock is Clock.WALL else (measured.empty,)
    spread_ns = max(_quiet_spread_ns(empty, clock) for empty in known)
    runs = [p.reference for f in measured.forks for p in f.pairs if p.size == target.sizes[0]]
    if not runs:
        return False
    needed_ns = SPREADS * spread_ns * math.sqrt(float(np.median([run.calls for run in runs])))
    return float(np.median([net.amount(run) for run in runs])) < needed_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class _EmptyCall:
    """Median of one empty call, and the standard error of that."""

    median_ns: float
    doubt_ns: float


@lru_cache(maxsize=64)
def _empty_call(empty: EmptyCalls, clock: Clock) -> _EmptyCall:
    """Return what an empty call costs.

    The standard error of a median of n is 1.253 σ / sqrt(n), and an IQR is 1.349 σ, for normal
    samples.
    """
    samples = _samples_ns(empty, clock)
    low, middle, high = np.percentile(samples, (25, 50, 75))
    return _EmptyCall(
        median_ns=float(middle),
        doubt_ns=1.253 * float(high - low) / 1.349 / math.sqrt(len(samples)),
    )


def _quiet_spread_ns(empty: EmptyCalls, clock: Clock) -> float:
    """Return the least interquartile range of one empty call over quarters of the calibration.

    Processor time is sampled by blocks: the spread of one call is that of a block's mean times the
    square root of its calls.
    """
    spreads = []
    for quarter in np.array_split(_samples_ns(empty, clock), 4):
        low, high = np.percentile(quarter, (25, 75))
        spreads.append(float(high - low))
    return min(spreads) * (1.0 if clock is Clock.WALL else math.sqrt(empty.block))


def _samples_ns(empty: EmptyCalls, clock: Clock) -> NDArray[np.float64]:
    """Return what one empty call cost, by call or as the mean of a block."""
    if clock is Clock.WALL:
        return np.array(empty.wall_ns, dtype=np.float64)
    return np.array(empty.cpu_ns, dtype=np.float64) / empty.block
