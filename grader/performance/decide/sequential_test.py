"""A group-sequential test: when a target is decided, and which share of its points it earns.

Input: a confidence interval of a metric (logarithm of a ratio, or a slope) and a tier. Intervals
are made in `performance.decide.interval`.

The samples are tested at a fixed number of stages. Each stage has an equal part of the error rate
(Bonferroni), so testing several times does not make a wrong verdict more likely.
Sources: Jennison and Turnbull, Group Sequential Methods with Applications to Clinical Trials
(2000); for the equal parts, Dunn, "Multiple comparisons among means", JASA 56 (1961).
"""

from dataclasses import dataclass
from enum import StrEnum

from grader.performance.decide.interval import Metric

ERROR_RATE = 0.05
"""Probability that any interval of one verdict misses the true value, over all stages together."""
NOISE_TEST_ERROR_RATE = 0.001
"""Probability that a submission as steady as the reference is found noisier than the reference."""


class Outcome(StrEnum):
    """The result of one stage.

    OPEN: not decided; measure more forks if there is another stage.
    TOO_NOISY: the machine is too noisy for any decision.
    """

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    FAIL = "fail"
    OPEN = "open"
    TOO_NOISY = "too_noisy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """The stages of the test, and how precise a metric must be.

    Widths are half-widths of intervals, in the metric's unit.

    Attributes:
        stages: numbers of forks after which the samples are tested, ascending.
        resolution: half-width below which more samples would hardly change the points.
        min_half_width: noise that every machine has; the reference's half-width is never taken to
            be smaller.
        noise_limit: half-width, of the reference or of the metric, beyond which the submission no
            longer gets the benefit of the doubt.
        wide_pass_from_forks: number of forks from which a PASS before the last stage may be wider
            than `resolution`; 0 for never.
        first_stage_margin: how far above the tier a FAIL at the first stage must lie. The first
            stage takes about a second, and so may a disturbance by another process.
    """

    stages: tuple[int, ...]
    resolution: float
    min_half_width: float
    noise_limit: float
    wide_pass_from_forks: int = 0
    first_stage_margin: float = 0.0

    @property
    def error_rate(self) -> float:
        """The error rate of one stage."""
        return ERROR_RATE / len(self.stages)


def decide_stage(metric: Metric, *, forks: int, rule: Rule) -> Outcome:
    """Return the outcome of a stage before the last one."""
    interval, pass_at = metric.interval, metric.pass_at
    if interval.low > pass_at:
        too_early = forks <= rule.stages[0] and interval.low <= pass_at + rule.first_stage_margin
        return Outcome.OPEN if too_early else Outcome.FAIL
    too_wide = interval.half_width > rule.resolution and not 0 < rule.wide_pass_from_forks <= forks
    precise = metric.within_reference_noise and not too_wide
    if interval.high <= metric.full_at or (interval.high <= pass_at and precise):
        return Outcome.PASS
    return Outcome.OPEN


def decide_last_stage(metric: Metric, rule: Rule) -> Outcome:
    """Return the outcome of the last stage.

    If the interval contains the limit, the submission passes (the benefit of the doubt), but only
    while the reference's own noise explains the width. If a single fork makes the interval wide,
    the machine is as likely a cause as the submission: neither pass nor fail. Nor does the width
    that the machine makes earn full points where the estimate itself does not.
    """
    if metric.interval.low > metric.pass_at:
        return Outcome.FAIL
    if metric.interval.high <= metric.pass_at:
        return Outcome.PASS
    if metric.reference_half_width > rule.noise_limit:
        return Outcome.TOO_NOISY
    if not metric.within_reference_noise:
        return Outcome.TOO_NOISY if metric.within_noise_without_outlier else Outcome.FAIL
    if metric.interval.half_width > rule.noise_limit or _owes_all_to_width(metric, rule):
        return Outcome.TOO_NOISY
    return Outcome.PASS


def _owes_all_to_width(metric: Metric, rule: Rule) -> bool:
    """Return whether a wide interval reaches from full points to none, and its estimate is no full.

    Then the width alone would earn all points, or lose them all.
    """
    interval = metric.interval
    is_wide = interval.half_width > rule.resolution
    reaches_both = interval.low <= metric.full_at and interval.high > metric.pass_at
    return is_wide and reaches_both and interval.estimate > metric.full_at


def scoring_bound(metric: Metric) -> float:
    """Return the value that earns the points, in the interval's unit.

    Within the reference's noise the lower (better) bound counts. Else the submission itself makes
    the spread, and the upper bound counts. Where the estimate itself does not pass, the benefit of
    the doubt is worth a pass and no more, however wide the interval is.
    """
    interval = metric.interval
    bound = interval.low if metric.within_reference_noise else interval.high
    return max(bound, metric.pass_at) if interval.estimate > metric.pass_at else bound


def share(metric: float, *, pass_at: float, full_at: float) -> float:
    """Return the share of the points that a metric earns: half at `pass_at`, all at `full_at`.

    Between the two the share is linear; above `pass_at` it is 0.
    """
    if metric <= full_at:
        return 1.0
    if metric > pass_at:
        return 0.0
    return 0.5 + 0.5 * (pass_at - metric) / (pass_at - full_at)
