"""Metrics with confidence intervals: how a submission's totals compare with the reference's.

Input: totals of both sides, one row per fork, one column per size. Output: an `Interval`, a ratio
on a logarithmic scale or a slope. Which tier it meets is decided elsewhere
(`performance.decide.sequential_test`).

A fork's total covers everything that a submission did in one process. A submission that alternates
between fast and slow calls, or is fast only at first, pays for all of it.

Forks are resampled, not runs: runs within one process resemble each other more than runs of
different processes. Measured on this project's own recordings, repeated forks spread 1.2 to 1.5
times as wide as pairs within one process predict.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

import numpy as np
from numpy.typing import NDArray

Totals = NDArray[np.float64]
"""Positive totals in ns or bytes, [forks, sizes]."""

RESAMPLES = 999
"""Bootstrap resamples. A standard error seldom needs more than 200.
Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 6.4."""
MAX_EXPONENT = 700.0
"""Largest logarithm whose exponential is still a number: e**709.78 is the largest double."""
_RESAMPLING_SEED = 20_040_229
"""Fixed but arbitrary: the same samples must give the same interval whenever they are judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate with its confidence interval.

    Attributes:
        estimate: over all forks together.
    """

    estimate: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half the distance between the bounds."""
        return (self.high - self.low) / 2

    def widened(self, extra: float) -> "Interval":
        """Return the interval with a further, independent uncertainty of half-width `extra`.

        Independent uncertainties add as the root of the sum of squares.
        Source: JCGM 100:2008 (Guide to the Expression of Uncertainty in Measurement), 5.1.2.
        """
        half = math.hypot(self.half_width, extra)
        return Interval(estimate=self.estimate, low=self.estimate - half, high=self.estimate + half)


class Kind(StrEnum):
    """What a metric compares; the value is its name in reports."""

    CPU_RATIO = "processor time"
    WALL_RATIO = "wall-clock time"
    CPU_GROWTH = "growth of processor time"
    WALL_GROWTH = "growth of wall-clock time"
    CPU_LARGEST = "processor time at the largest size"
    WALL_LARGEST = "wall-clock time at the largest size"
    MEMORY = "peak memory"
    MEMORY_CAP = "memory of the device"
    TRAFFIC = "network traffic"

    @property
    def is_slope(self) -> bool:
        """Whether the metric is a slope; else it is the logarithm of a ratio."""
        return self in (Kind.CPU_GROWTH, Kind.WALL_GROWTH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofline:
    """How near both sides came to what the machine can do, at the largest size.

    Attributes:
        floor_ns: the least time for the work that the author counts.
        submission: the share of the possible speed that it reached.
        reference: the same of the reference.
    """

    floor_ns: float
    submission: float
    reference: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One compared quantity with its confidence interval and the limits of its tier.

    Attributes:
        kind: what is compared.
        interval: of the slope, or of the logarithm of the ratio.
        reference_half_width: half-width that the reference's own spread would give.
        within_reference_noise: whether the interval is no wider than that spread makes likely.
        within_noise_without_outlier: the same after the most distant fork is left out.
        pass_at: largest value that passes, in the interval's unit.
        full_at: largest value that earns all points.
    """

    kind: Kind
    interval: Interval
    reference_half_width: float
    within_reference_noise: bool
    within_noise_without_outlier: bool = False
    pass_at: float
    full_at: float


def log_ratio(ratio: float) -> float:
    """Return the logarithm of a ratio; of 0, minus infinity."""
    return math.log(ratio) if ratio > 0 else -math.inf


def log_contrast(
    submission: Totals, reference: Totals, sizes: tuple[int, ...], *, error_rate: float
) -> Interval:
    """Return how the submission compares with the reference, as a confidence interval.

    For one size: log(sum of the submission's totals / sum of the reference's). This is a ratio of
    totals, not of medians: a submission that is slow in every second call pays for it. For several
    sizes: the least-squares slope of that logarithm over log(size).

    The interval is estimate ± t · standard error, the standard error from a bootstrap over forks.
    The bootstrap's standard error of n forks is too small by sqrt((n - 1) / n), which is corrected;
    Student's t with n - 1 degrees of freedom replaces the normal quantile.
    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), sections 6.2 and 12.

    `error_rate` is the probability that the interval misses the true value, both sides together.
    """
    forks = len(submission)
    weights = np.array(slope_weights(sizes))
    estimate = float(np.log(submission.sum(0) / reference.sum(0)) @ weights)
    if forks < 2:
        return Interval(estimate=estimate, low=-math.inf, high=math.inf)
    chosen = _resampled_forks(forks)
    resampled = np.log(submission[chosen].sum(1) / reference[chosen].sum(1)) @ weights
    error = float(resampled.std(ddof=1)) * math.sqrt(forks / (forks - 1))
    half = _t_quantile(forks - 1, error_rate) * error
    return Interval(estimate=estimate, low=estimate - half, high=estimate + half)


def exp_ratio(logarithm: float) -> float:
    """Return the ratio of a logarithm; infinite where there is no number for it."""
    return math.exp(logarithm) if logarithm < MAX_EXPONENT else math.inf


def slope_weights(sizes: tuple[int, ...]) -> tuple[float, ...]:
    """Return weights whose dot product with logarithms is their slope over log(size).

    For one size the weight is 1: the logarithm itself.
    Source: the least-squares slope, sum((x - mean x) · y) / sum((x - mean x)²).
    """
    if len(sizes) == 1:
        return (1.0,)
    centred = np.log(np.array(sizes, dtype=np.float64))
    centred -= centred.mean()
    return tuple(float(weight) for weight in centred / (centred @ centred))


def reference_half_width(reference: Totals, sizes: tuple[int, ...], *, error_rate: float) -> float:
    """Return the half-width of the reference compared with an equal copy of itself.

    Two independent sides with the reference's variance have a log ratio with twice that variance,
    so the standard error over n forks is spread · sqrt(2 / n).
    """
    forks = len(reference)
    if forks < 2:
        return math.inf
    per_fork = np.log(reference) @ np.array(slope_weights(sizes))
    spread = float(per_fork.std(ddof=1))
    return _t_quantile(forks - 1, error_rate) * spread * math.sqrt(2 / forks)


def is_within_reference_noise(
    reference_half: float, half: float, forks: int, *, error_rate: float
) -> bool:
    """Return whether the reference's own spread makes an interval of half-width `half` likely.

    An F test on the ratio of variances with `forks` - 1 degrees of freedom on both sides: a
    submission as noisy as the reference is called noisier with probability `error_rate` at most.
    Source: NIST/SEMATECH e-Handbook of Statistical Methods, section 1.3.5.9 (F-test for equality of
    two variances).
    """
    if half <= reference_half:
        return True
    return reference_half > 0 and (half / reference_half) ** 2 <= _f_quantile(forks - 1, error_rate)


def without_outlier(
    submission: Totals, reference: Totals, sizes: tuple[int, ...]
) -> tuple[list[int], float]:
    """Return the rows without the fork farthest from the median, and that fork's distance.

    Raises:
        ValueError: if there are fewer than two forks.
    """
    if len(submission) < 2:
        raise ValueError(f"expected at least two forks, got {len(submission)}")
    per_fork = np.log(submission / reference) @ np.array(slope_weights(sizes))
    distance = np.abs(per_fork - np.median(per_fork))
    outlier = int(distance.argmax())
    return [fork for fork in range(len(submission)) if fork != outlier], float(distance[outlier])


@cache
def _resampled_forks(forks: int) -> NDArray[np.int64]:
    """Return which forks each resample holds, [RESAMPLES, forks]."""
    chosen = np.random.default_rng(_RESAMPLING_SEED).integers(0, forks, size=(RESAMPLES, forks))
    chosen.setflags(write=False)
    return chosen


@cache
def _f_quantile(degrees: int, error_rate: float) -> float:
    from scipy import stats  # not at the top: a student's machine has no scipy and needs none

    return float(stats.f.ppf(1 - error_rate, degrees, degrees))


@cache
def _t_quantile(degrees: int, error_rate: float) -> float:
    from scipy import stats  # as above

    return float(stats.t.ppf(1 - error_rate / 2, degrees))
