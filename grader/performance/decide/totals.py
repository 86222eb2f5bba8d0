"""Sums over the runs of a fork, and times without what empty calls cost.

Takes: samples. Gives: totals per fork and size. Pure. Does not cover: intervals (see
`performance.decide.metrics`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from grader.assignment.plan import PlannedTarget
from grader.assignment.target import Clock
from grader.evidence.device import DeviceState, disturbance
from grader.evidence.samples import EmptyCalls, ForkSample, PairSample, RunSample, TargetMeasurement
from grader.performance.decide.interval import Totals

Amount = Callable[[RunSample], float]
"""What is added up: a time in nanoseconds, or bytes."""

SPREADS = 20
"""A timed run must be longer than this many spreads (IQR) of as many empty calls as it has."""


def totals_of(
    forks: tuple[ForkSample, ...], sizes: tuple[int, ...], amount: Amount, *, submission: bool
) -> Totals:
    """Return the total per fork and size; at least 1, so that logarithms exist."""
    rows = [
        [
            max(
                sum(
                    amount(p.submission if submission else p.reference)
                    for p in f.pairs
                    if p.size == s
                ),
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
    empty = _null_call(measured.empty, clock)
    if clock is Clock.WALL and measured.transfers:
        return _net_of_transfers(measured)

    def net(run: RunSample) -> float:
        gross_ns = run.cpu_ns if clock is Clock.CPU else run.wall_ns
        return gross_ns - run.calls * empty.median_ns

    return Gauge(amount=net, call_doubt_ns=empty.doubt_ns)


def _net_of_transfers(measured: TargetMeasurement) -> Gauge:
    """Return the time of a run without what empty calls cost that lend as much memory."""

    def net(run: RunSample) -> float:
        lent = [claim.transfer_bytes for claim in run.claims] + [0] * (run.calls - len(run.claims))
        calls = (_null_call(measured.empty_for(size), Clock.WALL) for size in lent)
        return run.wall_ns - sum(call.median_ns for call in calls)

    known = (_null_call(empty, Clock.WALL) for empty in (measured.empty, *measured.transfers))
    return Gauge(amount=net, call_doubt_ns=max(call.doubt_ns for call in known))


def doubt_of(
    forks: tuple[ForkSample, ...], sizes: tuple[int, ...], gauge: Gauge
) -> tuple[float, ...]:
    """Return by size how far the log ratio of totals may be off through what was taken off."""
    doubts: list[float] = []
    for size in sizes:
        sides: list[float] = []
        for submission in (True, False):
            runs = [
                p.submission if submission else p.reference
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
    known = (measured.empty, *measured.transfers) if clock is Clock.WALL else (measured.empty,)
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
def _null_call(empty: EmptyCalls, clock: Clock) -> _EmptyCall:
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


MOST_DISCARDED = 0.2
"""Share of the forks that may be left out; beyond it a noisy run is judged as it is, and one on a
device that was held back is not judged."""
STOLEN_SHARE = 0.05
"""Processor time that the hypervisor took, as a share of the fork's time, that disturbs."""


def included_forks(forks: tuple[ForkSample, ...]) -> tuple[ForkSample, ...]:
    """Return the forks without those that were disturbed most."""
    gone = left_out(forks)
    return tuple(fork for number, fork in enumerate(forks) if number not in gone)


def left_out(forks: tuple[ForkSample, ...]) -> tuple[int, ...]:
    """Return the places of the forks that are not counted, ascending."""
    shares = {n: (_throttled(fork), _stolen(fork)) for n, fork in enumerate(forks)}
    disturbed = [n for n, (held, stolen) in shares.items() if held or stolen > STOLEN_SHARE]
    worst = sorted(disturbed, key=lambda number: shares[number], reverse=True)
    return tuple(sorted(worst[: most_left_out(len(forks))]))


def most_left_out(forks: int) -> int:
    """Return how many of so many forks may be left out."""
    return int(MOST_DISCARDED * forks)


def throttled(forks: tuple[ForkSample, ...]) -> tuple[int, ...]:
    """Return the places of the forks in which the device was held back, ascending."""
    return tuple(number for number, fork in enumerate(forks) if _throttled(fork))


def held_back(forks: tuple[ForkSample, ...]) -> str:
    """Return the evidence that forks which count were disturbed; empty if none was."""
    counted = set(throttled(forks)) - set(left_out(forks))
    if not counted:
        return ""
    reasons = disturbance(s for n in counted for pair in forks[n].pairs for s in _states(pair))
    return f"{reasons} in {len(throttled(forks))} of {len(forks)} forks"


def unhindered(fork: ForkSample, processors: int) -> ForkSample:
    """Return the fork without the time in which the submission may have waited for a processor.

    Nobody waits while a processor is free, so at most what others used, or the hypervisor took,
    divided by the number of processors. Time that it computed in itself is never taken off.
    """
    return ForkSample(pairs=tuple(_unhindered(pair, processors) for pair in fork.pairs))


def _unhindered(pair: PairSample, processors: int) -> PairSample:
    run = pair.submission
    waited_ns = (pair.foreign_ns + pair.stolen_ns) // processors
    wall_ns = max(run.wall_ns - waited_ns, min(run.wall_ns, run.cpu_ns))
    return replace(pair, submission=replace(run, wall_ns=wall_ns))


def _throttled(fork: ForkSample) -> float:
    """Return the share of a fork's pairs in which the device was held back."""
    held = sum(bool(disturbance(_states(pair))) for pair in fork.pairs)
    return held / max(len(fork.pairs), 1)


def _states(pair: PairSample) -> tuple[DeviceState, ...]:
    return pair.submission.states + pair.reference.states


def _stolen(fork: ForkSample) -> float:
    elapsed_ns = sum(pair.elapsed_ns for pair in fork.pairs)
    return sum(pair.stolen_ns for pair in fork.pairs) / max(elapsed_ns, 1)
