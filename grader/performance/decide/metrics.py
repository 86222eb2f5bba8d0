"""From raw samples to metrics with confidence intervals, and whether they decide a target.

Input: a target with its tier, and a `TargetMeasurement`. Output: a `Decision`. Pure: the same
samples give the same decision whenever they are judged. Points and messages: `judge.targets`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from grader.assignment.plan import PlannedTarget
from grader.assignment.target import Clock, Quantity, Tier
from grader.evidence.samples import ForkSample, TargetMeasurement
from grader.performance.decide.interval import (
    MAX_EXPONENT,
    Interval,
    Kind,
    Metric,
    Totals,
    is_within_reference_noise,
    log_contrast,
    log_ratio,
    reference_half_width,
    slope_weights,
    without_outlier,
)
from grader.performance.decide.memory_cap import decide_memory_cap, has_memory_caps
from grader.performance.decide.sequential_test import (
    NOISE_TEST_ERROR_RATE,
    Outcome,
    Rule,
    decide_last_stage,
    decide_stage,
    scoring_bound,
    share,
)
from grader.performance.decide.totals import (
    RunQuantity,
    included_forks,
    max_left_out,
    net_time,
    null_call_uncertainty,
    pair_counts,
    throttled,
    throttling,
    totals_of,
    without_cpu_contention,
)

MAX_OUTLIER_DISTANCE = math.log(1.5)
"""Largest distance of an outlier fork from the median that may be the machine's doing. Measured:
of 2,112 recorded forks of known slowness one lay farther than log(1.5) = 0.405 (at 0.41), the next
at 0.32."""

RULES = {
    Quantity.TIME: Rule(
        stages=(4, 8, 12, 24),
        resolution=0.02,
        min_half_width=0.005,
        noise_limit=0.04,
        first_stage_margin=MAX_OUTLIER_DISTANCE,
    ),
    Quantity.GROWTH: Rule(
        stages=(3, 6, 9, 18),
        resolution=0.08,
        min_half_width=0.02,
        noise_limit=0.25,
        wide_pass_from_forks=9,
    ),
    Quantity.MEMORY: Rule(stages=(3, 6), resolution=0.02, min_half_width=0.005, noise_limit=0.10),
    Quantity.TRAFFIC: Rule(stages=(3, 6), resolution=0.02, min_half_width=0.005, noise_limit=0.10),
}
"""All widths are logarithms of ratios (0.02 is 2 %); for GROWTH they are slopes. They were chosen
by replaying recorded forks of known slowness; the benchmark of verdicts checks the error rates."""

WALL_CLOCK_MARGIN = math.log(1.1)
"""The wall clock decides instead of processor time only if its interval lies this far above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The result of one stage of the test of a target.

    Attributes:
        outcome: PASS and FAIL decide; OPEN asks for another stage.
        share: of the points, if it passes.
        metrics: those that decide come first; none if nothing could be compared.
        deciding: how many of them decide.
        unmetered: whether the target needs cgroups, which this machine does not offer.
        throttling: evidence that the device throttled in included forks; then nothing is decided.
    """

    outcome: Outcome
    share: float
    metrics: tuple[Metric, ...]
    deciding: int = 0
    unmetered: bool = False
    throttling: str = ""
    included_pairs: int = 0
    all_pairs: int = 0


def decide(target: PlannedTarget, tier: Tier, measured: TargetMeasurement) -> Decision:
    """Return the result of one stage; after the last stage nothing stays open."""
    counted = target.quantity.is_counted
    if target.quantity is Quantity.MEMORY and has_memory_caps(measured.forks):
        return _decide_memory_cap(tier, measured)
    if counted and not measured.metered:
        return Decision(outcome=Outcome.OPEN, share=0.0, metrics=(), unmetered=True)
    included = included_forks(measured.forks)
    deciding, shown, maybe_slept = _MetricMaker(target, tier, measured, included).metrics()
    rule, forks = RULES[target.quantity], len(measured.forks)
    last = forks >= rule.stages[-1]
    outcomes = [
        decide_last_stage(metric, rule) if last else decide_stage(metric, forks=forks, rule=rule)
        for metric in deciding
    ]
    outcome = next(
        (o for o in (Outcome.FAIL, Outcome.TOO_NOISY, Outcome.OPEN) if o in outcomes), Outcome.PASS
    )
    if maybe_slept and outcome is Outcome.PASS:
        outcome = Outcome.TOO_NOISY if last else Outcome.OPEN
    evidence = "" if counted else throttling(measured.forks)
    if evidence:
        too_many = len(throttled(measured.forks)) > max_left_out(rule.stages[-1])
        outcome = Outcome.TOO_NOISY if last or too_many else Outcome.OPEN
    return Decision(
        outcome=outcome,
        share=min(map(_share, deciding)) if outcome is Outcome.PASS else 0.0,
        metrics=(*deciding, *shown),
        deciding=len(deciding),
        throttling=evidence,
        included_pairs=sum(len(fork.pairs) for fork in included),
        all_pairs=sum(len(fork.pairs) for fork in measured.forks),
    )


def _decide_memory_cap(tier: Tier, measured: TargetMeasurement) -> Decision:
    """Decide on a device's memory by the smallest cap that sufficed; see `memory_cap`."""
    outcome, earned, metric = decide_memory_cap(tier, measured.forks)
    pairs = sum(len(fork.pairs) for fork in measured.forks)
    return Decision(
        outcome=outcome,
        share=earned,
        metrics=(metric,),
        deciding=1,
        included_pairs=pairs,
        all_pairs=pairs,
    )


_Metrics = tuple[Metric, ...]


@dataclass(frozen=True, slots=True)
class _MetricMaker:
    """Makes metrics from one target's samples."""

    _target: PlannedTarget
    _tier: Tier
    _measured: TargetMeasurement
    _forks: tuple[ForkSample, ...]

    def metrics(self) -> tuple[_Metrics, _Metrics, bool]:
        """Return the metrics that decide, those that are only shown, and whether it may have slept.

        If it may, beside neighbours that took the processors, processor time alone must not pass.
        """
        if self._target.quantity is Quantity.MEMORY:
            peak = RunQuantity(amount=lambda run: run.peak_bytes)
            return (self._ratio(Kind.MEMORY, peak),), (), False
        if self._target.quantity is Quantity.TRAFFIC:
            return (self._traffic(),), (), False
        wall = self._times(Clock.WALL)
        if not self._measured.metered:
            return wall, (), False
        cpu = self._times(Clock.CPU)
        if self._target.clock is Clock.WALL:
            return wall, cpu, False
        slept = [self._slept(c, w) for c, w in zip(cpu, wall, strict=True)]
        pairs = [(w, c) if s else (c, w) for s, c, w in zip(slept, cpu, wall, strict=True)]
        deciding, shown = zip(*pairs, strict=True)
        return deciding, shown, None in slept

    def _times(self, clock: Clock) -> _Metrics:
        """Return the ratio of times; for several sizes, the growth and the ratio at the largest."""
        net = net_time(self._measured, clock)
        of_cpu = clock is Clock.CPU
        if self._target.quantity is Quantity.TIME:
            return (self._ratio(Kind.CPU_RATIO if of_cpu else Kind.WALL_RATIO, net),)
        growth = Kind.CPU_GROWTH if of_cpu else Kind.WALL_GROWTH
        largest = Kind.CPU_LARGEST if of_cpu else Kind.WALL_LARGEST
        slopes = (self._tier.pass_at, self._tier.full_at)
        limit = math.log(self._tier.ratio_at_most)
        return (
            self._metric(growth, net, self._target.sizes, slopes),
            self._metric(largest, net, self._target.sizes[-1:], (limit, limit)),
        )

    def _slept(self, cpu: Metric, wall: Metric) -> bool | None:
        """Return whether the submission takes time in which it does not compute, by sleeping.

        Then the wall clock decides. Waiting for a processor that other processes use does not count
        as sleeping; None if nobody can tell the two apart, because the threads have ended.
        """
        limit = cpu.interval.high + WALL_CLOCK_MARGIN
        if wall.interval.low <= limit:
            return False
        if self._wall_alone(wall.kind, most=True) > limit:
            return True
        return None if self._wall_alone(wall.kind, most=False) > limit else False

    def _wall_alone(self, kind: Kind, *, most: bool) -> float:
        """Return a metric of the wall clock as it would be without neighbours."""
        forks = tuple(
            without_cpu_contention(fork, self._measured.cores, most=most) for fork in self._forks
        )
        times = replace(self, _forks=forks)._times(Clock.WALL)
        return next(metric.interval.estimate for metric in times if metric.kind is kind)

    def _ratio(self, kind: Kind, quantity: RunQuantity) -> Metric:
        """Return the ratio of totals at the only size."""
        return self._metric(kind, quantity, self._target.sizes[-1:], self._log_limits())

    def _traffic(self) -> Metric:
        """Return the ratio of the bytes sent to the bytes that the author says are needed."""
        size = self._target.sizes[-1]
        needed = next(work.traffic_bytes for work in self._measured.work if work.size == size)
        sent = totals_of(self._forks, (size,), self._measured.net_traffic_bytes, submission=True)
        totals = (sent, pair_counts(self._forks, (size,)) * max(needed, 1))
        return self._compared(Kind.TRAFFIC, totals, (size,), self._log_limits())

    def _log_limits(self) -> tuple[float, float]:
        return log_ratio(self._tier.pass_at), log_ratio(self._tier.full_at)

    def _metric(
        self, kind: Kind, quantity: RunQuantity, sizes: tuple[int, ...], limits: tuple[float, float]
    ) -> Metric:
        """Compare both sides' totals; subtracting null calls widens the interval.

        The widening is two standard errors, about 95 % of a normal distribution. The sizes' errors
        have one cause, the same null calls, so they add up without squares.
        """
        submission = totals_of(self._forks, sizes, quantity.amount, submission=True)
        reference = totals_of(self._forks, sizes, quantity.amount, submission=False)
        metric = self._compared(kind, (submission, reference), sizes, limits)
        errors = null_call_uncertainty(self._forks, sizes, quantity)
        extra = sum(
            abs(weight) * error for weight, error in zip(slope_weights(sizes), errors, strict=True)
        )
        return replace(metric, interval=metric.interval.widened(2 * extra))

    def _compared(
        self,
        kind: Kind,
        totals: tuple[Totals, Totals],
        sizes: tuple[int, ...],
        limits: tuple[float, float],
    ) -> Metric:
        interval, reference_half, is_within = self._noise(totals, sizes, range(len(self._forks)))
        is_within_without_outlier = False
        if not is_within and len(self._forks) > 2:
            rest, distance = without_outlier(*totals, sizes)
            is_within_without_outlier = (
                distance <= MAX_OUTLIER_DISTANCE and self._noise(totals, sizes, rest)[2]
            )
        return Metric(
            kind=kind,
            interval=interval,
            reference_half_width=reference_half,
            within_reference_noise=is_within,
            within_noise_without_outlier=is_within_without_outlier,
            pass_at=limits[0],
            full_at=limits[1],
        )

    def _noise(
        self, totals: tuple[Totals, Totals], sizes: tuple[int, ...], forks: Sequence[int]
    ) -> tuple[Interval, float, bool]:
        """Return the interval of `forks`, the reference's half-width, and whether that explains it.

        The reference's totals are taken per pair, because forks may differ in their pairs.
        """
        rule, rows = RULES[self._target.quantity], list(forks)
        submission, reference = (side[rows] for side in totals)
        interval = log_contrast(submission, reference, sizes, error_rate=rule.error_rate)
        per_pair = reference / pair_counts(self._forks, sizes)[rows]
        reference_half = max(
            reference_half_width(per_pair, sizes, error_rate=rule.error_rate), rule.min_half_width
        )
        is_within = is_within_reference_noise(
            reference_half, interval.half_width, len(rows), error_rate=NOISE_TEST_ERROR_RATE
        )
        return interval, reference_half, is_within


def _share(metric: Metric) -> float:
    """Return the share of the points; tiers of ratios are linear in the ratio itself."""
    value = scoring_bound(metric)
    if metric.kind.is_slope:
        return share(value, pass_at=metric.pass_at, full_at=metric.full_at)
    # A time that is no longer than the null calls has an infinite bound.
    return share(
        math.exp(min(value, MAX_EXPONENT)),
        pass_at=math.exp(metric.pass_at),
        full_at=math.exp(metric.full_at),
    )
