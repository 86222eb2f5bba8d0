"""A performance target as its student sees it: metrics with intervals, and the runs behind them.

The numbers come from the same functions as the verdict. A target that awaits review shows none of
them: they are for the staff until the review is done. Pure; charts are in `target_chart`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from grader.assignment.plan import PlannedTarget
from grader.assignment.target import Clock, Quantity
from grader.evidence.samples import ForkSample, TargetMeasurement
from grader.evidence.timeline import RankTimeline
from grader.judge.judgement import OUR_CAUSES, Cause, CheckJudgement, TargetFinding, Verdict
from grader.performance.decide.interval import Kind, Metric, exp_ratio
from grader.performance.decide.sequential_test import scoring_bound
from grader.performance.decide.totals import included_forks, left_out, throttled
from grader.report import messages
from grader.report.hostile_text import make_legible
from grader.report.messages import ratio_text, slope_text
from grader.report.ranks_view import RanksTable, describe_rank, rank_tables
from grader.report.target_sums import SizeView, TargetSums, exponents

_METERS = {
    Kind.CPU_GROWTH: Kind.CPU_RATIO,
    Kind.CPU_LARGEST: Kind.CPU_RATIO,
    Kind.WALL_GROWTH: Kind.WALL_RATIO,
    Kind.WALL_LARGEST: Kind.WALL_RATIO,
}
"""Metrics that measure the same as another one, whose shorter name they have in a chart."""
THEORY = "the theoretical amount"
"""What network traffic is compared with; all else is compared with the reference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricView:
    """One metric: a ratio, or the power of the size by which it grows faster than the reference.

    Attributes:
        meter: what was measured for it: a time, memory or bytes.
        is_slope: whether it is a power of the size; else a ratio.
        base: what it is compared with.
        where: at which size, if there are several; else empty.
        decides: whether points depend on it; else it is only shown.
        estimate: of all forks together; `low` and `high` are the bounds of its interval.
        pass_at: largest value that passes; up to `full_at` it earns everything.
        counted: the value that the points were computed from; none if it earned none.
        forks: the same metric in each fork, in the order in which they ran.
        reference_spread: how uncertain the same comparison of the reference with itself would be.
        source: what made the number.
    """

    name: str
    meter: str
    is_slope: bool
    base: str
    where: str
    decides: bool
    estimate: float
    low: float
    high: float
    pass_at: float
    full_at: float
    counted: tuple[float, ...]
    forks: tuple[float, ...]
    reference_spread: str
    source: str

    def text(self, value: float) -> str:
        """Return a value of this metric as text."""
        return slope_text(value) if self.is_slope else ratio_text(value)

    @property
    def fork_text(self) -> str:
        """The values of all forks, in the order in which they ran."""
        return ", ".join(self.text(value) for value in self.forks)

    @property
    def has_tiers_apart(self) -> bool:
        """Whether there are points between the tiers."""
        return self.full_at < self.pass_at


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetFindingView:
    """A measured target.

    Attributes:
        metrics: those that decide come first.
        sizes: of the workload, ascending, in the unit of the first metric.
        in_bytes: whether `sizes` counts bytes; else nanoseconds.
        exponents: each side grows with the size to this power; none unless growth is the target.
        forks: fresh processes per side that count.
        pairs: pairs of runs that count.
        all_pairs: pairs of runs that were measured.
        left_out: why forks were left out, and how many.
        roofline: submission's and reference's share of the possible speed; none if not known.
        tables: over ranks, the bytes against theory or the memory by rank; else none.
        timelines: over ranks, what each recorded in one more run; else none.
        network_rate: bytes per second that the ranks' network was limited to; 0 if it was not.
    """

    metrics: tuple[MetricView, ...]
    sizes: tuple[SizeView, ...]
    in_bytes: bool
    exponents: tuple[tuple[float, float], ...]
    forks: int
    pairs: int
    all_pairs: int
    left_out: tuple[str, ...]
    roofline: tuple[tuple[str, str], ...]
    tables: tuple[RanksTable, ...] = ()
    timelines: tuple[RankTimeline, ...] = ()
    network_rate: int = 0

    @property
    def counts(self) -> str:
        """How much was measured, and how much of it counts, as a sentence."""
        gone = self.all_pairs - self.pairs
        left_out = f" {gone} of {self.all_pairs} were left out." if gone else ""
        limit = f" The network of both was limited to {self.network_rate / 1e6:.0f} MB/s."
        return (
            f"{self.pairs} pairs of runs, yours and the reference's in turn, in {self.forks} forks "
            f"(fresh processes) of each.{left_out}{limit if self.network_rate else ''}"
        )

    @property
    def sizes_text(self) -> str:
        """Time or bytes of both sides per run, a sentence per size; empty where a table says it."""
        if self.tables:
            return ""
        return " ".join(
            f"Size {size.size}: yours {self.amount_text(size.submission)}, "
            f"reference {self.amount_text(size.reference)} per run."
            for size in self.sizes
        )

    @property
    def timelines_text(self) -> tuple[str, ...]:
        """The timelines, a sentence for each rank."""
        return tuple(describe_rank(rank, number) for number, rank in enumerate(self.timelines))

    def amount_text(self, amount: float) -> str:
        """Return a time or a number of bytes with its unit."""
        return messages.bytes_text(amount) if self.in_bytes else messages.time_text(amount)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetView:
    """What a check's page adds for a target.

    Attributes:
        blocked: whether it was not measured because a check of the problem failed.
        open_text: why it has no verdict; empty if it has one, or if nothing special is known.
        finding: the metrics; none if it was not measured, and while it awaits review.
    """

    measured: str
    blocked: bool
    open_text: str
    finding: tuple[TargetFindingView, ...]


def view_target(
    target: PlannedTarget,
    check: CheckJudgement,
    measured: Sequence[TargetMeasurement],
    device: str,
) -> TargetView:
    """Copy what a student may know of a target; `measured` is empty if it was not measured."""
    shown = check.finding if check.verdict is not Verdict.NEEDS_REVIEW else ()
    return TargetView(
        measured=_measured_text(target),
        blocked=check.verdict is Verdict.FAIL and not measured,
        open_text=_open_text(target, check, device),
        finding=tuple(
            _view_finding(target, check, finding, measured[0]) for finding in shown if measured
        ),
    )


def _measured_text(target: PlannedTarget) -> str:
    is_cpu = target.clock is Clock.CPU
    kind = {
        Quantity.TIME: Kind.CPU_RATIO if is_cpu else Kind.WALL_RATIO,
        Quantity.GROWTH: Kind.CPU_GROWTH if is_cpu else Kind.WALL_GROWTH,
        Quantity.MEMORY: Kind.MEMORY,
        Quantity.TRAFFIC: Kind.TRAFFIC,
    }[target.quantity]
    if not target.sizes:
        return kind.value
    noun = "sizes" if len(target.sizes) > 1 else "size"
    return f"{kind.value}, {noun} {', '.join(str(size) for size in target.sizes)}"


def _open_text(target: PlannedTarget, check: CheckJudgement, device: str) -> str:
    if check.cause not in OUR_CAUSES:
        return ""
    if check.cause is Cause.NO_DEVICE:
        if target.tiers:
            return messages.UNMETERED_TEXT
        devices = tuple(make_legible(name) for name in target.devices)
        return messages.device_text(devices, make_legible(device))
    return messages.NOISY_TEXT if check.finding else ""


def _view_finding(
    target: PlannedTarget,
    check: CheckJudgement,
    finding: TargetFinding,
    measured: TargetMeasurement,
) -> TargetFindingView:
    forks = included_forks(measured.forks)
    # Of a growth, the ratio at the largest size decides, too.
    deciding = 2 if target.quantity is Quantity.GROWTH else 1
    sums = TargetSums(target=target, measured=measured, forks=forks)
    first = finding.metrics[0].kind
    sizes = sums.sizes(first)
    return TargetFindingView(
        metrics=tuple(
            _view_metric(metric, index < deciding, check.verdict, sums.per_fork(metric.kind))
            for index, metric in enumerate(finding.metrics)
        ),
        sizes=sizes,
        in_bytes=first in (Kind.MEMORY, Kind.MEMORY_CAP, Kind.TRAFFIC),
        exponents=(exponents(sizes),) if first.is_slope else (),
        forks=len(forks),
        pairs=finding.included_pairs,
        all_pairs=finding.all_pairs,
        left_out=_left_out_text(measured.forks),
        roofline=tuple(
            (messages.percent_text(r.submission), messages.percent_text(r.reference))
            for r in finding.roofline
        ),
        tables=rank_tables(first, measured, forks),
        timelines=measured.timelines,
        network_rate=measured.network_rate,
    )


def _left_out_text(forks: tuple[ForkSample, ...]) -> tuple[str, ...]:
    """Return why forks were left out, and how many."""
    gone, slowed = set(left_out(forks)), set(throttled(forks))
    reasons = (
        (len(gone & slowed), messages.THROTTLED_TEXT),
        (len(gone - slowed), messages.STOLEN_TEXT),
    )
    return tuple(f"{n} {'fork' if n == 1 else 'forks'}, because {why}" for n, why in reasons if n)


def _view_metric(
    metric: Metric, decides: bool, verdict: Verdict, forks: tuple[float, ...]
) -> MetricView:
    kind, interval = metric.kind, metric.interval
    slope = kind.is_slope
    counted: tuple[float, ...] = ()
    if decides and verdict is Verdict.PASS and metric.full_at < metric.pass_at:
        counted = (scoring_bound(metric),)

    def unit(value: float) -> float:
        return value if slope else exp_ratio(value)

    return MetricView(
        name=_capitalise(kind.value),
        meter=_capitalise(_METERS.get(kind, kind).value),
        is_slope=slope,
        base=THEORY if kind is Kind.TRAFFIC else "the reference's",
        where=" at the largest size" if kind in (Kind.CPU_LARGEST, Kind.WALL_LARGEST) else "",
        decides=decides,
        estimate=unit(interval.estimate),
        low=unit(interval.low),
        high=unit(interval.high),
        pass_at=unit(metric.pass_at),
        full_at=unit(metric.full_at),
        counted=tuple(unit(value) for value in counted),
        forks=tuple(unit(value) for value in forks),
        reference_spread=(
            f"±{slope_text(metric.reference_half_width)}"
            if slope
            else f"±{messages.percent_text(exp_ratio(metric.reference_half_width) - 1)}"
        ),
        source=messages.KIND_SOURCES[kind],
    )


def _capitalise(text: str) -> str:
    """Return `text` with its first letter as a capital, the others as they are."""
    return text[:1].upper() + text[1:]
