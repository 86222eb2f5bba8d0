"""Times contenders in interleaved rounds, and says how sure the result is.

Takes: a device, contenders. Gives: seconds per round and contender; medians and ratios with
intervals. Does not cover: what the numbers are compared with (`_roofline`, `_report`).

In each round every contender runs once; every second round runs them in reverse. So a device that
gets warm, or a clock that falls, meets all of them alike, and ratios are taken within one run.

The interval is the percentile bootstrap of the median, 95 %, over rounds: both sides of a ratio are
resampled by the same rounds, so what slows a whole round down cancels.
Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.kernels._case import Contender
from benchmarks.kernels._device import Device

Seconds = NDArray[np.float64]
"""One sample for each round; or [rounds, contenders]."""

LEAST_ROUNDS, MOST_ROUNDS = 7, 100
SMOKE_ROUNDS = 2
RESAMPLES = 2000
CONFIDENCE = 0.95
SEED = 20261121
METHOD = (
    f"interleaved rounds, every second in reverse; median, {CONFIDENCE:.0%} percentile bootstrap "
    f"over rounds ({RESAMPLES} resamples)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate and the bounds of its interval."""

    estimate: float
    low: float
    high: float


def time_rounds(device: Device, contenders: Sequence[Contender], *, rounds: int) -> Seconds:
    """Return seconds, [rounds, contenders]."""
    submission = np.empty((rounds, len(contenders)))
    order = list(range(len(contenders)))
    for row in submission:
        for index in order:
            contenders[index].prepare()
            row[index] = device.seconds(contenders[index].call)
        order.reverse()
    return submission


def time_within(
    device: Device,
    contenders: Sequence[Contender],
    *,
    budget_s: float,
    clock: Callable[[], float] = time.perf_counter,
) -> Seconds:
    """Return seconds of as many rounds as fit a budget, but `LEAST_ROUNDS` at least.

    The first round is dropped: it pays for what is compiled, loaded and tuned. Where times mean
    nothing there are `SMOKE_ROUNDS`.
    """
    if not device.counts:
        return time_rounds(device, contenders, rounds=SMOKE_ROUNDS)
    time_rounds(device, contenders, rounds=1)
    begin = clock()
    time_rounds(device, contenders, rounds=1)
    cost_s = max(clock() - begin, 1e-9)
    rounds = int(max(LEAST_ROUNDS, min(MOST_ROUNDS, budget_s / cost_s)))
    return time_rounds(device, contenders, rounds=rounds)


def median(samples: Seconds) -> Interval:
    """Return the median of rounds, in the samples' unit."""
    return _interval(
        float(np.median(samples)), np.median(samples[_resampled(len(samples))], axis=1)
    )


def ratio(samples: Seconds, over: Seconds) -> Interval:
    """Return the ratio of two medians of the same rounds."""
    chosen = _resampled(len(samples))
    resampled = np.median(samples[chosen], axis=1) / np.median(over[chosen], axis=1)
    return _interval(float(np.median(samples) / np.median(over)), resampled)


def scaled(interval: Interval, factor: float) -> Interval:
    """Return an interval in another unit; the factor is positive."""
    return Interval(
        estimate=interval.estimate * factor, low=interval.low * factor, high=interval.high * factor
    )


def _interval(estimate: float, resampled: Seconds) -> Interval:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(resampled, (tail, 1 - tail))
    return Interval(estimate=estimate, low=float(low), high=float(high))


def _resampled(rounds: int) -> NDArray[np.int64]:
    """Return which rounds each resample holds, [RESAMPLES, rounds]."""
    return np.random.default_rng(SEED).integers(0, rounds, size=(RESAMPLES, rounds))
