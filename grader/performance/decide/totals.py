"""Totals per fork and size, without the cost of null calls, and which forks are included.

Input: raw samples of a target. Output: totals in ns or bytes, and the numbers of the forks that
were disturbed from outside. Confidence intervals: `performance.decide.metrics`.
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

Forks = tuple[ForkSample, ...]
Amount = Callable[[RunSample], float]
"""What is summed over runs: a time in nanoseconds, or bytes."""

SPREADS = 20
"""A timed run must be longer than this many times the spread (IQR) of as many null calls."""


def runs_of(forks: Forks, size: int, *, submission: bool) -> list[RunSample]:
    """Return one side's runs of one size, in their order."""
    pairs = [pair for fork in forks for pair in fork.pairs if pair.size == size]
    return [pair.submission if submission else pair.reference for pair in pairs]


def totals_of(forks: Forks, sizes: tuple[int, ...], amount: Amount, *, submission: bool) -> Totals:
    """Return the totals of one side, [forks, sizes]; at least 1, so that logarithms exist."""
    rows = [
        [
            max(sum(map(amount, runs_of((fork,), size, submission=submission))), 1.0)
            for size in sizes
        ]
        for fork in forks
    ]
    return np.array(rows, dtype=np.float64).reshape(len(forks), len(sizes))


def pair_counts(forks: Forks, sizes: tuple[int, ...]) -> Totals:
    """Return how many pairs each total sums, [forks, sizes]."""
    rows = [[len(runs_of((fork,), size, submission=True)) for size in sizes] for fork in forks]
    return np.array(rows, dtype=np.float64).reshape(len(forks), len(sizes))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunQuantity:
    """A quantity of a run that is summed over runs.

    Attributes:
        null_call_error_ns: standard error of the cost that is subtracted per call; 0 for none.
    """

    amount: Amount
    null_call_error_ns: float = 0.0


def net_time(measured: TargetMeasurement, clock: Clock) -> RunQuantity:
    """Return the time of a run without the cost of as many null calls."""
    empty = _null_call(measured.empty, clock)
    if clock is Clock.WALL and measured.transfers:
        return _net_of_transfers(measured)

    def net(run: RunSample) -> float:
        gross_ns = run.cpu_ns if clock is Clock.CPU else run.wall_ns
        return gross_ns - run.calls * empty.median_ns

    return RunQuantity(amount=net, null_call_error_ns=empty.error_ns)


def _net_of_transfers(measured: TargetMeasurement) -> RunQuantity:
    """Return the time of a run without the cost of null calls with arguments of the same size."""

    def net(run: RunSample) -> float:
        sizes = [claim.transfer_bytes for claim in run.claims]
        sizes += [0] * (run.calls - len(run.claims))
        calls = (_null_call(measured.empty_for(size), Clock.WALL) for size in sizes)
        return run.wall_ns - sum(call.median_ns for call in calls)

    known = (_null_call(empty, Clock.WALL) for empty in (measured.empty, *measured.transfers))
    return RunQuantity(amount=net, null_call_error_ns=max(call.error_ns for call in known))


def null_call_uncertainty(
    forks: Forks, sizes: tuple[int, ...], quantity: RunQuantity
) -> tuple[float, ...]:
    """Return by size the standard error that subtracting null calls adds to the log ratio.

    The relative errors of the two sides are independent, so their squares add.
    Source: JCGM 100:2008 (Guide to the Expression of Uncertainty in Measurement), 5.1.6.
    """

    def relative_error(runs: list[RunSample]) -> float:
        error_ns = quantity.null_call_error_ns * sum(run.calls for run in runs)
        return error_ns / max(sum(map(quantity.amount, runs)), 1.0)

    return tuple(
        math.hypot(
            relative_error(runs_of(forks, size, submission=True)),
            relative_error(runs_of(forks, size, submission=False)),
        )
        for size in sizes
    )


def too_short(target: PlannedTarget, measured: TargetMeasurement) -> bool:
    """Return whether the reference's runs are too short against the spread of null calls.

    Checked when an assignment is validated, not while it grades, because sizes are the author's
    choice. Passing noise is not, so the spread is that of the quietest quarter of the null calls.
    """
    clock = target.clock if measured.metered else Clock.WALL
    net = net_time(measured, clock)
    known = (measured.empty, *measured.transfers) if clock is Clock.WALL else (measured.empty,)
    spread_ns = max(_quiet_spread_ns(empty, clock) for empty in known)
    runs = runs_of(measured.forks, target.sizes[0], submission=False)
    if not runs:
        return False
    needed_ns = SPREADS * spread_ns * math.sqrt(float(np.median([run.calls for run in runs])))
    return float(np.median([net.amount(run) for run in runs])) < needed_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class _NullCall:
    """Median cost of one null call, and the standard error of that median."""

    median_ns: float
    error_ns: float


@lru_cache(maxsize=64)
def _null_call(empty: EmptyCalls, clock: Clock) -> _NullCall:
    """Return the cost of a null call.

    For normal samples the standard error of a median of n is sqrt(π / 2) σ / sqrt(n), that is
    1.253 σ / sqrt(n), and the interquartile range is 2 · 0.6745 σ, that is 1.349 σ.
    Source: Cramér, Mathematical Methods of Statistics (1946), section 28.5.
    """
    samples = _samples_ns(empty, clock)
    low, middle, high = np.percentile(samples, (25, 50, 75))
    return _NullCall(
        median_ns=float(middle),
        error_ns=1.253 * float(high - low) / 1.349 / math.sqrt(len(samples)),
    )


def _quiet_spread_ns(empty: EmptyCalls, clock: Clock) -> float:
    """Return the interquartile range of a null call in the quietest quarter of the null calls.

    Processor time is sampled per block: the spread of one call is the spread of a block's mean
    times the square root of its number of calls.
    """
    spreads = []
    for quarter in np.array_split(_samples_ns(empty, clock), 4):
        low, high = np.percentile(quarter, (25, 75))
        spreads.append(float(high - low))
    return min(spreads) * (1.0 if clock is Clock.WALL else math.sqrt(empty.block))


def _samples_ns(empty: EmptyCalls, clock: Clock) -> NDArray[np.float64]:
    """Return the costs of one null call: of each call, or as means of blocks."""
    if clock is Clock.WALL:
        return np.array(empty.wall_ns, dtype=np.float64)
    return np.array(empty.cpu_ns, dtype=np.float64) / empty.block


MAX_DISCARDED_SHARE = 0.2
"""Largest share of the forks that may be left out. Beyond it, the noisy forks are judged as they
are; a target on a throttled device is not judged."""
STOLEN_SHARE = 0.05
"""A fork is disturbed if the hypervisor took more processor time than this share of its time."""


def included_forks(forks: Forks) -> Forks:
    """Return the forks without those that were disturbed most."""
    excluded = left_out(forks)
    return tuple(fork for number, fork in enumerate(forks) if number not in excluded)


def left_out(forks: Forks) -> tuple[int, ...]:
    """Return the numbers of the forks that are not included, ascending."""
    shares = {n: (_throttled_share(fork), _stolen_share(fork)) for n, fork in enumerate(forks)}
    disturbed = [n for n, (slow, stolen) in shares.items() if slow or stolen > STOLEN_SHARE]
    worst = sorted(disturbed, key=lambda number: shares[number], reverse=True)
    return tuple(sorted(worst[: max_left_out(len(forks))]))


def max_left_out(forks: int) -> int:
    """Return how many of so many forks may be left out."""
    return int(MAX_DISCARDED_SHARE * forks)


def throttled(forks: Forks) -> tuple[int, ...]:
    """Return the numbers of the forks in which the device throttled, ascending."""
    return tuple(number for number, fork in enumerate(forks) if _throttled_share(fork))


def throttling(forks: Forks) -> str:
    """Return the evidence that the device throttled in included forks; empty if it did not."""
    counted = set(throttled(forks)) - set(left_out(forks))
    if not counted:
        return ""
    reasons = disturbance(s for n in counted for pair in forks[n].pairs for s in _states(pair))
    return f"{reasons} in {len(throttled(forks))} of {len(forks)} forks"


def without_cpu_contention(fork: ForkSample, processors: int, *, most: bool = True) -> ForkSample:
    """Return the fork without the time in which the submission waited for a processor.

    No process waits while a processor is free. So the wait is at most the processor time of other
    processes and of the hypervisor, divided by the number of processors. Linux also counts what
    each thread waited, and a thread that sleeps waits for nothing; but threads that have ended
    cannot be asked. With `most`, they waited as long as the bound allows, by their share of the
    work; without, they did not wait. The submission's own processor time is never subtracted.
    """
    pairs: list[PairSample] = []
    for pair in fork.pairs:
        run = pair.submission
        waited_ns = (pair.foreign_ns + pair.stolen_ns) // processors
        if run.queued_ns is not None:
            ended = 1 - min(run.ran_ns / max(run.cpu_ns, 1), 1.0)
            known_ns = run.queued_ns + pair.stolen_ns // processors  # the hypervisor has no queue
            waited_ns = min(waited_ns, known_ns + round(most * ended * waited_ns))
        wall_ns = max(run.wall_ns - waited_ns, min(run.wall_ns, run.cpu_ns))
        pairs.append(replace(pair, submission=replace(run, wall_ns=wall_ns)))
    return ForkSample(pairs=tuple(pairs))


def _throttled_share(fork: ForkSample) -> float:
    """Return the share of a fork's pairs in which the device throttled."""
    slow = sum(bool(disturbance(_states(pair))) for pair in fork.pairs)
    return slow / max(len(fork.pairs), 1)


def _states(pair: PairSample) -> tuple[DeviceState, ...]:
    return pair.submission.states + pair.reference.states


def _stolen_share(fork: ForkSample) -> float:
    elapsed_ns = sum(pair.elapsed_ns for pair in fork.pairs)
    return sum(pair.stolen_ns for pair in fork.pairs) / max(elapsed_ns, 1)
