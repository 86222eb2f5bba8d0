"""Intervals for ratios and slopes from forks: the unit that repeats is the fork, not the call.

Takes: totals of the submission and of the reference, one row per fork, one column per size. Gives:
`Interval`. Does not cover: which tier is met (see `performance.decide.sequential_test`).

A fork's total holds everything that a submission did in one process, so one that alternates between
fast and slow calls, or is fast only at first, pays for all of it and gains nothing by the pattern.
Runs within one process resemble each other more than runs of different processes (repeats spread
1.2 to 1.5 times wider than pairs within one process predict), so forks are what is resampled.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Totals = NDArray[np.float64]
"""Positive totals, [forks, sizes]."""

RESAMPLES = 999
_RESAMPLING_SEED = 20_040_229
"""Any fixed number: the same samples must give the same interval whenever they are judged again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate with bounds that hold it at the stated confidence.

    Attributes:
        estimate: of all forks together.
        low: lower bound.
        high: upper bound.
    """

    estimate: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half the distance between the bounds."""
        return (self.high - self.low) / 2

    def widened(self, extra: float) -> "Interval":
        """Return the interval with a further, independent uncertainty of half-width `extra`."""
        half = math.hypot(self.half_width, extra)
        return Interval(estimate=self.estimate, low=self.estimate - half, high=self.estimate + half)


def log_contrast(
    submission: Totals, reference: Totals, sizes: tuple[int, ...], *, error_rate: float
) -> Interval:
    """Return how the submission compares with the reference, with the interval of that.

    Of one size: log(sum of the submission's totals / sum of the reference's). The ratio of totals,
    not of medians: a submission that is slow in every second call pays for it. Of several sizes:
    the least-squares slope of that logarithm over log(size).

    The interval is estimate ± t · standard error over resampled forks. The bootstrap's standard
    error of n forks is too small by sqrt((n − 1) / n), and a normal quantile by what Student's t
    adds for n − 1 degrees of freedom.
    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), sections 6.2 and 12.

    Args:
        submission: the submission's totals, [forks, sizes].
        reference: the reference's, [forks, sizes].
        sizes: of the workload.
        error_rate: probability that the interval misses the truth, both sides together.
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


def slope_weights(sizes: tuple[int, ...]) -> tuple[float, ...]:
    """Return what to multiply logarithms by to get their slope over log(size); of one size, 1."""
    if len(sizes) == 1:
        return (1.0,)
    centred = np.log(np.array(sizes, dtype=np.float64))
    centred -= centred.mean()
    return tuple(float(weight) for weight in centred / (centred @ centred))


def own_half_width(reference: Totals, sizes: tuple[int, ...], *, error_rate: float) -> float:
    """Return the half-width that the reference's own spread explains: of it against its equal.

    Two equal sides of the reference's spread have a log ratio with twice its variance.
    """
    forks = len(reference)
    if forks < 2:
        return math.inf
    per_fork = np.log(reference) @ np.array(slope_weights(sizes))
    spread = float(per_fork.std(ddof=1))
    return _t_quantile(forks - 1, error_rate) * spread * math.sqrt(2 / forks)


def explains(own: float, seen: float, forks: int, *, chance: float) -> bool:
    """Return whether a half-width is one that the reference's own spread makes likely.

    An F test on the squared ratio with `forks` − 1 degrees of freedom on both sides: a submission
    as noisy as the reference is called noisier with probability `chance` at most.
    """
    if seen <= own:
        return True
    return own > 0 and (seen / own) ** 2 <= _f_quantile(forks - 1, chance)


def without_the_oddest(
    submission: Totals, reference: Totals, sizes: tuple[int, ...]
) -> tuple[list[int], float]:
    """Return the rows of all forks but the one farthest from their median, and how far that is.

    Raises:
        ValueError: if there are fewer than two forks.
    """
    if len(submission) < 2:
        raise ValueError(f"expected at least two forks, got {len(submission)}")
    per_fork = np.log(submission / reference) @ np.array(slope_weights(sizes))
    distance = np.abs(per_fork - np.median(per_fork))
    oddest = int(distance.argmax())
    return [fork for fork in range(len(submission)) if fork != oddest], float(distance[oddest])


@cache
def _resampled_forks(forks: int) -> NDArray[np.int64]:
    """Return which forks each resample holds, [RESAMPLES, forks]."""
    chosen = np.random.default_rng(_RESAMPLING_SEED).integers(0, forks, size=(RESAMPLES, forks))
    chosen.setflags(write=False)
    return chosen


@cache
def _f_quantile(degrees: int, chance: float) -> float:
    from scipy import stats  # here, because a student's machine judges public cases without it

    return float(stats.f.ppf(1 - chance, degrees, degrees))


@cache
def _t_quantile(degrees: int, error_rate: float) -> float:
    from scipy import stats  # as above

    return float(stats.t.ppf(1 - error_rate / 2, degrees))
