"""From raw samples to figures with intervals, and whether they decide.

Takes: a target with its tier, a `TargetMeasurement`. Gives: `Decision`. Pure: the same samples give
the same decision when they are judged again. Does not cover: points and words (see
`judge.targets`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from grader.assignment.plan import PlannedTarget
from grader.assignment.target import Clock, Quantity, Tier
from grader.evidence.samples import ForkSample, TargetMeasurement
from grader.performance.decide.interval import (
    Interval,
    Totals,
    explains,
    log_contrast,
    own_half_width,
    slope_weights,
    without_the_oddest,
)
from grader.performance.decide.memory_cap import decide_memory_cap, has_memory_caps
from grader.performance.decide.metric import Kind, Metric
from grader.performance.decide.sequential_test import (
    NOISIER_CHANCE,
    Outcome,
    Rule,
    credited,
    decide_last_stage,
    decide_stage,
    share,
)
from grader.performance.decide.totals import (
    Gauge,
    doubt_of,
    held_back,
    included_forks,
    most_left_out,
    net_time,
    pair_counts,
    throttled,
    totals_of,
    unhindered,
)

ODDEST = math.log(1.5)
"""How far from the others a fork may lie and still be the machine's doing: of 2,112 recorded forks
of known slowness one lay farther (0.41), the next at 0.32."""

RULES = {
    Quantity.TIME: Rule(
        stages=(4, 8, 12, 24), resolution=0.02, floor=0.005, noise_limit=0.04, burst=ODDEST
    ),
    Quantity.GROWTH: Rule(
        stages=(3, 6, 9, 18), resolution=0.08, floor=0.02, noise_limit=0.25, wide_from=9
    ),
    Quantity.MEMORY: Rule(stages=(3, 6), resolution=0.02, floor=0.005, noise_limit=0.10),
    Quantity.TRAFFIC: Rule(stages=(3, 6), resolution=0.02, floor=0.005, noise_limit=0.10),
}
"""Resolutions, floors and limits in logarithms of ratios (0.02 is 2 %), for GROWTH in slopes."""

WAITING_MARGIN = math.log(1.1)
"""How far the wall clock's whole interval must lie above the processor's to decide instead."""
MOST_LOGARITHM = 700.0
"""Beyond it e to that power is no number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the samples say so far.

    Attributes:
        outcome: PASS and FAIL decide; OPEN asks for another look.
        share: of the points, if it passes.
        metrics: those that decide first; none if nothing could be compared.
        deciding: how many of them decide.
        unmetered: what is asked is counted by control groups, which this machine does not give.
        held_back: evidence that the device was, in forks that would count; then nothing is decided.
        included_pairs: pairs that were used.
        all_pairs: pairs that were measured.
    """

    outcome: Outcome
    share: float
    metrics: tuple[Metric, ...]
    deciding: int = 0
    unmetered: bool = False
    held_back: str = ""
    included_pairs: int = 0
    all_pairs: int = 0


def decide(target: PlannedTarget, tier: Tier, measured: TargetMeasurement) -> Decision:
    """Look at the samples; after the last look every doubt is settled."""
    counted = target.quantity.is_counted
    if target.quantity is Quantity.MEMORY and has_memory_caps(measured.forks):
        return _decide_memory_cap(tier, measured)
    if counted and not measured.metered:
        return Decision(outcome=Outcome.OPEN, share=0.0, metrics=(), unmetered=True)
    included = included_forks(measured.forks)
    metrics = _metrics(target, tier, measured, included)
    rule = RULES[target.quantity]
    last = len(measured.forks) >= rule.stages[-1]
    outcomes = [_outcome(f, rule, len(measured.forks)) for f in metrics.deciding]
    shares = [_share(metric) for metric in metrics.deciding]
    outcome = next(
        (o for o in (Outcome.FAIL, Outcome.TOO_NOISY, Outcome.OPEN) if o in outcomes), Outcome.PASS
    )
    held = "" if counted else held_back(measured.forks)
    if held:
        over = len(throttled(measured.forks)) > most_left_out(rule.stages[-1])
        outcome = Outcome.TOO_NOISY if last or over else Outcome.OPEN
    return Decision(
        outcome=outcome,
        share=min(shares) if outcome is Outcome.PASS else 0.0,
        metrics=(*metrics.deciding, *metrics.shown),
        deciding=len(metrics.deciding),
        held_back=held,
        included_pairs=sum(len(fork.pairs) for fork in included),
        all_pairs=sum(len(fork.pairs) for fork in measured.forks),
    )


def _decide_memory_cap(tier: Tier, measured: TargetMeasurement) -> Decision:
    """Decide on a device's memory by the cap that sufficed; see `memory_cap`."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Metrics:
    deciding: tuple[Metric, ...]
    shown: tuple[Metric, ...]


def _metrics(
    target: PlannedTarget, tier: Tier, measured: TargetMeasurement, forks: tuple[ForkSample, ...]
) -> _Metrics:
    """Return the figures that decide, and those that are only shown."""
    maker = _MetricMaker(target, tier, measured, forks)
    if target.quantity is Quantity.MEMORY:
        return _Metrics(
            deciding=(maker.ratio(Kind.MEMORY, Gauge(amount=lambda run: run.peak_bytes)),), shown=()
        )
    if target.quantity is Quantity.TRAFFIC:
        return _Metrics(deciding=(maker.traffic(),), shown=())
    sandbox = maker.times(Clock.WALL)
    if not measured.metered:
        return _Metrics(deciding=sandbox, shown=())
    cpu = maker.times(Clock.CPU)
    if target.clock is Clock.WALL:
        return _Metrics(deciding=sandbox, shown=cpu)
    pairs = tuple(zip(cpu, sandbox, strict=True))
    return _Metrics(
        deciding=tuple(w if maker.waits(c, w) else c for c, w in pairs),
        shown=tuple(c if maker.waits(c, w) else w for c, w in pairs),
    )


class _MetricMaker:
    """Makes figures of one target's samples."""

    def __init__(
        self,
        target: PlannedTarget,
        tier: Tier,
        measured: TargetMeasurement,
        forks: tuple[ForkSample, ...],
    ) -> None:
        self._target = target
        self._tier = tier
        self._measured = measured
        self._forks = forks
        self._rule = RULES[target.quantity]

    def times(self, clock: Clock) -> tuple[Metric, ...]:
        """Return the ratio of times; of several sizes, the growth and the ratio at the largest."""
        net = net_time(self._measured, clock)
        of_cpu = clock is Clock.CPU
        if self._target.quantity is Quantity.TIME:
            return (self.ratio(Kind.CPU_RATIO if of_cpu else Kind.WALL_RATIO, net),)
        growth = self._growth(Kind.CPU_GROWTH if of_cpu else Kind.WALL_GROWTH, net)
        kind = Kind.CPU_LARGEST if of_cpu else Kind.WALL_LARGEST
        limit = math.log(self._tier.ratio_at_most)
        return growth, self._metric(kind, net, self._target.sizes[-1:], (limit, limit))

    def waits(self, cpu: Metric, sandbox: Metric) -> bool:
        """Return whether time passes that no processor works in: a submission that sleeps pays.

        Who waits for a processor that others use does not sleep.
        """
        limit = cpu.interval.high + WAITING_MARGIN
        if sandbox.interval.low <= limit:
            return False
        forks = tuple(unhindered(fork, self._measured.cores) for fork in self._forks)
        maker = _MetricMaker(self._target, self._tier, self._measured, forks)
        alone = next(f for f in maker.times(Clock.WALL) if f.kind is sandbox.kind)
        return alone.interval.estimate > limit

    def ratio(self, kind: Kind, gauge: Gauge) -> Metric:
        """Return the ratio of totals at the only size."""
        return self._metric(kind, gauge, self._target.sizes[-1:], self._log_limits())

    def traffic(self) -> Metric:
        """Return the ratio of bytes on the wire to what arithmetic says must cross."""
        size = self._target.sizes[-1]
        needed = next(work.traffic_bytes for work in self._measured.work if work.size == size)
        sent = totals_of(self._forks, (size,), self._measured.net_traffic_bytes, submission=True)
        totals = (sent, pair_counts(self._forks, (size,)) * max(needed, 1))
        return self._judged(Kind.TRAFFIC, totals, (size,), self._log_limits())

    def _log_limits(self) -> tuple[float, float]:
        return _log(self._tier.pass_at), _log(self._tier.full_at)

    def _growth(self, kind: Kind, gauge: Gauge) -> Metric:
        limits = (self._tier.pass_at, self._tier.full_at)
        return self._metric(kind, gauge, self._target.sizes, limits)

    def _metric(
        self, kind: Kind, gauge: Gauge, sizes: tuple[int, ...], limits: tuple[float, float]
    ) -> Metric:
        """Compare both sides' totals; what is taken off adds its own doubt to the interval."""
        submission = totals_of(self._forks, sizes, gauge.amount, submission=True)
        reference = totals_of(self._forks, sizes, gauge.amount, submission=False)
        metric = self._judged(kind, (submission, reference), sizes, limits)
        doubts = doubt_of(self._forks, sizes, gauge)
        extra = sum(
            abs(weight) * doubt for weight, doubt in zip(slope_weights(sizes), doubts, strict=True)
        )
        return replace(metric, interval=metric.interval.widened(2 * extra))

    def _judged(
        self,
        kind: Kind,
        totals: tuple[Totals, Totals],
        sizes: tuple[int, ...],
        limits: tuple[float, float],
    ) -> Metric:
        interval, own, explained = self._explained(totals, sizes, range(len(self._forks)))
        by_one_fork = False
        if not explained and len(self._forks) > 2:
            rest, distance = without_the_oddest(*totals, sizes)
            by_one_fork = distance <= ODDEST and self._explained(totals, sizes, rest)[2]
        return Metric(
            kind=kind,
            interval=interval,
            own_half_width=own,
            explained=explained,
            by_one_fork=by_one_fork,
            pass_at=limits[0],
            full_at=limits[1],
        )

    def _explained(
        self, totals: tuple[Totals, Totals], sizes: tuple[int, ...], forks: Sequence[int]
    ) -> tuple[Interval, float, bool]:
        """Return some forks' interval, the reference's own half-width, whether it explains it."""
        rate, rows = self._rule.error_rate, list(forks)
        submission, reference = (side[rows] for side in totals)
        interval = log_contrast(submission, reference, sizes, error_rate=rate)
        per_pair = reference / pair_counts(self._forks, sizes)[rows]
        own = max(own_half_width(per_pair, sizes, error_rate=rate), self._rule.floor)
        return interval, own, explains(own, interval.half_width, len(rows), chance=NOISIER_CHANCE)


def _outcome(metric: Metric, rule: Rule, forks: int) -> Outcome:
    if forks >= rule.stages[-1]:
        return decide_last_stage(
            metric.interval,
            pass_at=metric.pass_at,
            explained=metric.explained,
            by_one_fork=metric.by_one_fork,
            own=metric.own_half_width,
            rule=rule,
        )
    return decide_stage(
        metric.interval,
        pass_at=metric.pass_at,
        full_at=metric.full_at,
        explained=metric.explained,
        forks=forks,
        rule=rule,
    )


def _share(metric: Metric) -> float:
    """Return the share of the points; tiers of ratios are linear in the ratio itself."""
    value = credited(metric.interval, explained=metric.explained)
    if metric.kind.is_slope:
        return share(value, pass_at=metric.pass_at, full_at=metric.full_at)
    # A time that drowns in what is taken off it has a bound without end.
    return share(
        math.exp(min(value, MOST_LOGARITHM)),
        pass_at=math.exp(metric.pass_at),
        full_at=math.exp(metric.full_at),
    )


def _log(ratio: float) -> float:
    return math.log(ratio) if ratio > 0 else -math.inf
