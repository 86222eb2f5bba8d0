"""A performance target as its student sees it: figures with intervals, and the runs behind them.

Takes: a planned target, its judgement, its measurement. Gives: `TargetView`. Pure. Does not cover:
where marks stand in a picture (see `pace_chart`).

Numbers are added up by the functions that the verdict stands on. Held points keep their numbers to
the staff until a person has looked at them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from grader.assignment.plan import PlannedTarget
from grader.assignment.target import Clock, Quantity
from grader.evidence.samples import ForkSample, TargetMeasurement
from grader.evidence.timeline import RankTimeline
from grader.judge.judgement import OUR_CAUSES, Cause, CheckJudgement, TargetFinding, Verdict
from grader.performance.decide.interval import Kind, Metric
from grader.performance.decide.sequential_test import scoring_bound
from grader.performance.decide.totals import included_forks, left_out, throttled
from grader.report import quantities
from grader.report.hostile_text import make_legible
from grader.report.quantities import exp_ratio, ratio_text, slope_text
from grader.report.ranks_view import RanksTable, rank_tables
from grader.report.target_sums import SizeView, Sums, exponents
from grader.report.timeline_chart import describe_rank

GROWTH_KINDS = (Kind.CPU_GROWTH, Kind.WALL_GROWTH)
LARGEST_KINDS = (Kind.CPU_LARGEST, Kind.WALL_LARGEST)
_DECIDING = {Quantity.GROWTH: 2}
"""How many figures decide, where it is not one: the growth, and the ratio at the largest size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricView:
    """One compared quantity: a ratio, or the power of the size by which it grows faster.

    Attributes:
        name: what it is.
        meter: what was added up for it.
        is_slope: whether it is a power; else a ratio.
        base: what it is compared with.
        where: at which size, if there are several.
        decides: whether points depend on it; else it is only shown.
        estimate: of all forks together.
        low: lower bound of the interval.
        high: upper bound.
        pass_at: largest value that passes.
        full_at: largest value that earns everything.
        counted: the bound that points are given for; none if it earned none.
        forks: the same quantity in each fork, in the order in which they ran.
        own_spread: how far the reference lies from itself, in words.
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
    own_spread: str
    source: str

    def words(self, value: float) -> str:
        """Return a value in the figure's unit."""
        return slope_text(value) if self.is_slope else ratio_text(value)

    @property
    def fork_text(self) -> str:
        """The values of all forks, in the order in which they ran."""
        return ", ".join(self.words(value) for value in self.forks)

    @property
    def has_tiers_apart(self) -> bool:
        """Whether there are points between the tiers."""
        return self.full_at < self.pass_at


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetFindingView:
    """A measured target.

    Attributes:
        metrics: those that decide first.
        sizes: of the workload, ascending, by the first figure's clock or meter.
        in_bytes: whether `sizes` counts bytes; else nanoseconds.
        exponents: the power of the size by which each side grows; none unless growth is asked.
        forks: fresh processes per side that count.
        pairs: pairs of runs that count.
        all_pairs: pairs of runs that were measured.
        left_out: why forks were left out, in words, with their number.
        roofline: shares of the possible speed, of submission and reference; none if not known.
        tables: of a group, its bytes against theory or its memory by rank; else none.
        timelines: of a group, what each rank says it did in one further run; else none.
        network_rate: bytes per second that the wire of a group was held to; 0 if it was free.
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
        """How much was measured and what of it counts, in a sentence."""
        gone = self.all_pairs - self.pairs
        told = f" {gone} of {self.all_pairs} were left out." if gone else ""
        wire = f" The wire of both was held to {self.network_rate / 1e6:.0f} MB/s."
        return (
            f"{self.pairs} pairs of runs, yours and the reference's in turn, "
            f"in {self.forks} forks of both.{told}{wire if self.network_rate else ''}"
        )

    @property
    def sizes_text(self) -> str:
        """What both sides took per run at every size, in a sentence each; tables say it too."""
        if self.tables:
            return ""
        return " ".join(
            f"Size {size.size}: yours {self.amount_text(size.submission)}, "
            f"reference {self.amount_text(size.reference)} per run."
            for size in self.sizes
        )

    @property
    def exponents_text(self) -> tuple[tuple[str, str], ...]:
        """The exponents of both sides in words; none unless growth is asked."""
        return tuple((slope_text(a), slope_text(b)) for a, b in self.exponents)

    @property
    def timelines_text(self) -> tuple[str, ...]:
        """The timelines in a sentence each."""
        return tuple(describe_rank(rank, number) for number, rank in enumerate(self.timelines))

    def amount_text(self, amount: float) -> str:
        """Return what a side took, with its unit."""
        return quantities.bytes_text(amount) if self.in_bytes else quantities.time_text(amount)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetView:
    """What a check's page adds for a target.

    Attributes:
        measured: what is measured.
        blocked: whether it was not measured because a check of the problem failed.
        open_text: why it has no verdict; empty if it has one, or if nothing special is known.
        finding: the figures; none if it was not measured, and while points are held.
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
    """Copy what a student may know of a target.

    Args:
        target: what was asked.
        check: its judgement.
        measured: its measurement; none if it was not measured.
        device: the device that there was.
    """
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
    clock = "processor time" if target.clock is Clock.CPU else "time on the clock"
    what = {
        Quantity.TIME: clock,
        Quantity.GROWTH: f"growth of {clock}",
        Quantity.MEMORY: "peak memory",
        Quantity.TRAFFIC: "bytes on the wire",
    }[target.quantity]
    sizes = ", ".join(str(size) for size in target.sizes)
    return f"{what}, {'sizes' if len(target.sizes) > 1 else 'size'} {sizes}" if sizes else what


def _open_text(target: PlannedTarget, check: CheckJudgement, device: str) -> str:
    if check.cause not in OUR_CAUSES:
        return ""
    if check.cause is Cause.NO_DEVICE:
        if target.tiers:
            return quantities.UNMETERED_TEXT
        devices = tuple(make_legible(name) for name in target.devices)
        return quantities.device_text(devices, make_legible(device))
    return quantities.NOISY_TEXT if check.finding else ""


def _view_finding(
    target: PlannedTarget,
    check: CheckJudgement,
    finding: TargetFinding,
    measured: TargetMeasurement,
) -> TargetFindingView:
    forks = included_forks(measured.forks)
    deciding = _DECIDING.get(target.quantity, 1)
    sums = Sums(target, measured, forks)
    first = finding.metrics[0].kind
    sizes = sums.sizes(first)
    return TargetFindingView(
        metrics=tuple(
            _view_metric(metric, index < deciding, check.verdict, sums.per_fork(metric.kind))
            for index, metric in enumerate(finding.metrics)
        ),
        sizes=sizes,
        in_bytes=first in (Kind.MEMORY, Kind.MEMORY_CAP, Kind.TRAFFIC),
        exponents=exponents(sizes) if first in GROWTH_KINDS else (),
        forks=len(forks),
        pairs=finding.included_pairs,
        all_pairs=finding.all_pairs,
        left_out=_left_out_text(measured.forks),
        roofline=tuple(
            (quantities.percent_text(r.submission), quantities.percent_text(r.reference))
            for r in finding.roofline
        ),
        tables=rank_tables(first, measured, forks),
        timelines=measured.timelines,
        network_rate=measured.network_rate,
    )


def _left_out_text(forks: tuple[ForkSample, ...]) -> tuple[str, ...]:
    """Return why forks were left out, in words, with their number."""
    gone, held = set(left_out(forks)), set(throttled(forks))
    reasons = (
        (len(gone & held), quantities.THROTTLED_TEXT),
        (len(gone - held), quantities.STOLEN_TEXT),
    )
    return tuple(f"{n} {'fork' if n == 1 else 'forks'}: {why}" for n, why in reasons if n)


def _view_metric(
    metric: Metric, decides: bool, verdict: Verdict, forks: tuple[float, ...]
) -> MetricView:
    kind, interval = metric.kind, metric.interval
    slope = kind.is_slope
    counts = decides and verdict is Verdict.PASS and metric.full_at < metric.pass_at
    counted = (
        (scoring_bound(interval, within_reference_noise=metric.within_reference_noise),)
        if counts
        else ()
    )

    def unit(value: float) -> float:
        return value if slope else exp_ratio(value)

    return MetricView(
        name=kind.value[0].upper() + kind.value[1:],
        meter=quantities.KIND_METERS[kind],
        is_slope=slope,
        base="what arithmetic says" if kind is Kind.TRAFFIC else "the reference's",
        where=" at the largest size" if kind in LARGEST_KINDS else "",
        decides=decides,
        estimate=unit(interval.estimate),
        low=unit(interval.low),
        high=unit(interval.high),
        pass_at=unit(metric.pass_at),
        full_at=unit(metric.full_at),
        counted=tuple(unit(value) for value in counted),
        forks=tuple(unit(value) for value in forks),
        own_spread=(
            f"±{slope_text(metric.reference_half_width)}"
            if slope
            else f"±{quantities.percent_text(exp_ratio(metric.reference_half_width) - 1)}"
        ),
        source=quantities.KIND_SOURCES[kind],
    )
