"""When enough has been seen, and what it earns: fixed looks, adjusted levels, bounded doubt.

Takes: intervals in logarithms or slopes, a tier. Gives: whether to go on, and the figure that is
credited. Does not cover: making the intervals (see `performance.decide.interval`).

The samples are looked at a fixed number of times, and every look has its share of the error rate
(Bonferroni), so that looking often does not make a wrong verdict likelier.
"""

from dataclasses import dataclass
from enum import StrEnum

from grader.performance.decide.interval import Interval

ERROR_RATE = 0.05
"""Probability that any interval of one verdict misses the truth, over all looks together."""
NOISIER_CHANCE = 0.001
"""Probability that a submission as steady as the reference is called noisier than it."""


class Outcome(StrEnum):
    """What a look says.

    OPEN: go on, if there is another look.
    TOO_NOISY: the reference's own spread leaves nothing to be said.
    """

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    FAIL = "fail"
    OPEN = "open"
    TOO_NOISY = "too_noisy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How often is looked, and how fine the figure must be.

    Attributes:
        stages: forks after which the samples are looked at, ascending.
        resolution: half-width at which the points no longer depend on noise worth another look.
        floor: spread that every machine has; the reference's own is never taken for less.
        noise_limit: half-width, the reference's own or the whole, beyond which doubt is no longer
            given.
        wide_from: forks from which on a PASS may be wider than `resolution` before the last look; 0
            if it never may.
        burst: how far over the tier a FAIL at the first look must lie: its few forks are over in a
            second, and what else a machine does may last as long.
    """

    stages: tuple[int, ...]
    resolution: float
    floor: float
    noise_limit: float
    wide_from: int = 0
    burst: float = 0.0

    @property
    def error_rate(self) -> float:
        """The share of one look."""
        return ERROR_RATE / len(self.stages)


def decide_stage(
    interval: Interval, *, pass_at: float, full_at: float, explained: bool, forks: int, rule: Rule
) -> Outcome:
    """Say whether an interval decides, before the last look."""
    if interval.low > pass_at:
        soon = forks <= rule.stages[0] and interval.low <= pass_at + rule.burst
        return Outcome.OPEN if soon else Outcome.FAIL
    wide = interval.half_width > rule.resolution and not 0 < rule.wide_from <= forks
    fine = explained and not wide
    if interval.high <= full_at or (interval.high <= pass_at and fine):
        return Outcome.PASS
    return Outcome.OPEN


def decide_last_stage(
    interval: Interval,
    *,
    pass_at: float,
    explained: bool,
    by_one_fork: bool,
    own: float,
    rule: Rule,
) -> Outcome:
    """Decide, with the benefit of the doubt only where the reference's own spread explains it.

    A width that a single fork makes is the machine's as likely as the submission's: it is no ground
    to fail, nor to pass.
    """
    if interval.low > pass_at:
        return Outcome.FAIL
    if interval.high <= pass_at:
        return Outcome.PASS
    if own > rule.noise_limit:
        return Outcome.TOO_NOISY
    if not explained:
        return Outcome.TOO_NOISY if by_one_fork else Outcome.FAIL
    return Outcome.TOO_NOISY if interval.half_width > rule.noise_limit else Outcome.PASS


def credited(interval: Interval, *, explained: bool) -> float:
    """Return the bound that points are given for: the better one, unless its width is home-made."""
    return interval.low if explained else interval.high


def share(metric: float, *, pass_at: float, full_at: float) -> float:
    """Return the share of the points for a figure: half at `pass_at`, all at `full_at`."""
    if metric <= full_at:
        return 1.0
    if metric > pass_at:
        return 0.0
    return 0.5 + 0.5 * (pass_at - metric) / (pass_at - full_at)
