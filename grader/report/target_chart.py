"""Charts of a measured target: a strip for ratios or slopes, lines for growth, bars for amounts.

Everything here is pure arithmetic on a `TargetFindingView`; `templates/target.html.j2` draws it.
Positions along a chart are in percent of its width and heights in pixels, so that the text has the
same size on a page of any width.
"""

from dataclasses import dataclass

from grader.report.axis import Axis, Tick, make_axis
from grader.report.messages import slope_text, time_text
from grader.report.ranks_view import Timeline, draw_timeline
from grader.report.target_sums import SizeView
from grader.report.target_view import THEORY, MetricView, TargetFindingView

LANES_TOP = 44.0
LANE_HEIGHT = 58.0
DOT_OFFSETS = (0.0, -6.0, 6.0)
"""Dots stand in three rows, so that equal values do not cover each other."""
PLOT_TOP = 14.0
PLOT_BOTTOM = 176.0
LABEL_GAP = 15.0
SIDE_MARGIN = 0.5
"""Free width beside the lines, as a share: for the times on the left and the names on the right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """One fork, or all forks of a size together."""

    x: float
    y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One metric on a strip.

    Attributes:
        decides: whether points depend on it.
        top: its upper edge.
        dots: one per fork.
        y: height of the interval from `low` to `high`.
        cut_low: whether the lower end lies outside the strip.
        cut_high: whether the upper end does.
        counted: the value that the points were computed from; none if it earned none.
    """

    name: str
    decides: bool
    top: float
    dots: tuple[Dot, ...]
    y: float
    low: float
    high: float
    cut_low: bool
    cut_high: bool
    estimate: float
    counted: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TierMark:
    """A tier: its position, its text, the height of the text and on which side it is."""

    x: float
    text: str
    y: float
    at_end: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """Metrics of one unit, one below the other.

    Attributes:
        text: what is shown, one sentence per metric.
        lanes: the metrics that points depend on first.
        tiers: of these metrics, full points first.
        full_to: where full points end.
        pass_to: where points end.
        bottom: height of the axis.
        caption: unit of the axis.
    """

    title: str
    text: str
    lanes: tuple[Lane, ...]
    tiers: tuple[TierMark, ...]
    full_to: float
    pass_to: float
    ticks: tuple[Tick, ...]
    bottom: float
    caption: str


def draw_strip(metrics: tuple[MetricView, ...]) -> Strip:
    """Return the strip of metrics of one unit; those that points depend on come first."""
    first = metrics[0]
    tiers = {first.full_at, first.pass_at}
    axis = make_axis(
        (
            *(value for metric in metrics for value in (*metric.forks, metric.estimate)),
            *(tiers if first.is_slope else {1.0, *tiers}),
        ),
        bounds=[bound for metric in metrics for bound in (metric.low, metric.high)],
        is_log=not first.is_slope,
    )
    return Strip(
        title=first.name,
        text=" ".join(describe_metric(metric) for metric in metrics),
        lanes=tuple(_draw_lane(metric, n, axis) for n, metric in enumerate(metrics)),
        tiers=_draw_tiers(first, axis),
        full_to=axis.position(first.full_at),
        pass_to=axis.position(first.pass_at),
        ticks=axis.ticks(first.text),
        bottom=LANES_TOP + LANE_HEIGHT * len(metrics),
        caption=(
            "how much faster it grows than the reference, as a power of the size; less is better"
            if first.is_slope
            else f"times {first.base}{first.where}; less is better"
        ),
    )


def describe_metric(metric: MetricView) -> str:
    """Return a metric with its interval and tiers as one sentence."""
    estimate, low, high = (metric.text(x) for x in (metric.estimate, metric.low, metric.high))
    value = f"size to the power of {estimate}" if metric.is_slope else f"{estimate} times"
    limits = f"passes up to {metric.text(metric.pass_at)}"
    if metric.has_tiers_apart:
        limits += f", full points up to {metric.text(metric.full_at)}"
    forks = f"{len(metric.forks)} forks"
    if metric.forks:
        forks += f" from {metric.text(min(metric.forks))} to {metric.text(max(metric.forks))}"
    effect = limits if metric.decides else "no points depend on it"
    versus = " beyond" if metric.is_slope else ""
    return (
        f"{metric.name}: {value}{versus} {metric.base}, interval {low} to {high}, {forks}; "
        f"{effect}."
    )


def _draw_lane(metric: MetricView, number: int, axis: Axis) -> Lane:
    top = LANES_TOP + LANE_HEIGHT * number
    return Lane(
        name=metric.meter if metric.decides else f"{metric.meter} (no points)",
        decides=metric.decides,
        top=top,
        dots=tuple(
            Dot(x=axis.position(value), y=top + 25 + DOT_OFFSETS[n % 3])
            for n, value in enumerate(metric.forks)
        ),
        y=top + 45,
        low=axis.position(metric.low),
        high=axis.position(metric.high),
        cut_low=axis.cuts(metric.low),
        cut_high=axis.cuts(metric.high),
        estimate=axis.position(metric.estimate),
        counted=tuple(axis.position(value) for value in metric.counted),
    )


def _draw_tiers(metric: MetricView, axis: Axis) -> tuple[TierMark, ...]:
    full, passing = metric.text(metric.full_at), metric.text(metric.pass_at)
    wanted = [(metric.pass_at, f"passes up to {passing}", 30.0)]
    if metric.has_tiers_apart:
        wanted = [
            (metric.full_at, f"full points up to {full}", 13.0),
            (metric.pass_at, f"half the points up to {passing}", 30.0),
        ]
    return tuple(
        TierMark(x=axis.position(at), text=text, y=y, at_end=axis.position(at) > 50)
        for at, text, y in wanted
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One side over the sizes.

    Attributes:
        power: its times grow with the size to this power.
        line: totals of all forks, one per size.
        dots: one per fork and size.
        label_y: height of the name beside the last point.
    """

    name: str
    power: str
    is_submission: bool
    line: tuple[Dot, ...]
    dots: tuple[Dot, ...]
    label_y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """Times of both sides over the sizes of the workload, both axes logarithmic.

    Attributes:
        text: what is shown, in a sentence.
        series: submission and reference.
        sizes: along the bottom.
        times: along the side, in pixels.
        bottom: height of the axis.
    """

    text: str
    series: tuple[Series, ...]
    sizes: tuple[Tick, ...]
    times: tuple[Tick, ...]
    bottom: float


def draw_growth(finding: TargetFindingView) -> Growth:
    """Return the chart of both sides' times over the sizes."""
    sizes = finding.sizes
    across = make_axis((s.size for s in sizes), is_log=True, margin=SIDE_MARGIN)
    forks = [value for s in sizes for value in (*s.submission_forks, *s.reference_forks)]
    up = make_axis(forks, is_log=True)

    def dot(size: SizeView, value: float) -> Dot:
        return Dot(x=across.position(size.size), y=round(_height(up.position(value)), 1))

    lines = (
        tuple(dot(s, s.submission) for s in sizes),
        tuple(dot(s, s.reference) for s in sizes),
    )
    dots = (
        tuple(dot(s, value) for s in sizes for value in s.submission_forks),
        tuple(dot(s, value) for s in sizes for value in s.reference_forks),
    )
    labels = _apart(*(line[-1].y for line in lines))
    powers = [slope_text(power) for power in finding.exponents[0]]
    return Growth(
        text=(
            f"Yours grows with the size to the power of {powers[0]}, the reference to the power "
            f"of {powers[1]}. " + finding.sizes_text
        ),
        series=tuple(
            Series(
                name=name,
                power=powers[n],
                is_submission=n == 0,
                line=lines[n],
                dots=dots[n],
                label_y=labels[n],
            )
            for n, name in enumerate(("yours", "reference"))
        ),
        sizes=tuple(Tick(at=across.position(s.size), text=str(s.size)) for s in sizes),
        times=tuple(Tick(at=_height(tick.at), text=tick.text) for tick in up.ticks(time_text)),
        bottom=PLOT_BOTTOM,
    )


def _height(percent: float) -> float:
    return PLOT_BOTTOM - (PLOT_BOTTOM - PLOT_TOP) * percent / 100


def _apart(first: float, second: float) -> tuple[float, float]:
    """Return the two heights, moved until they are at least `LABEL_GAP` apart."""
    push = max(0.0, LABEL_GAP - abs(first - second)) / 2
    sign = -1 if first <= second else 1
    return first + sign * push, second - sign * push


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """The time or bytes of one side, as a bar with its length in percent."""

    name: str
    is_submission: bool
    length: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetChart:
    """All charts of a target: bars and a strip for a ratio; lines and two strips for growth.

    A target over ranks also has a timeline.
    """

    strips: tuple[Strip, ...]
    growth: tuple[Growth, ...]
    bars: tuple[Bar, ...]
    timelines: tuple[Timeline, ...]


def draw_target(finding: TargetFindingView) -> TargetChart:
    """Return the charts of a measured target."""
    slopes = tuple(metric for metric in finding.metrics if metric.is_slope)
    ratios = tuple(metric for metric in finding.metrics if not metric.is_slope)
    return TargetChart(
        strips=tuple(draw_strip(metrics) for metrics in (slopes, ratios) if metrics),
        growth=(draw_growth(finding),) if slopes else (),
        bars=() if slopes else _draw_bars(finding),
        timelines=(draw_timeline(finding.timelines),) if finding.timelines else (),
    )


def _draw_bars(finding: TargetFindingView) -> tuple[Bar, ...]:
    last = finding.sizes[-1]
    base = "theory" if finding.metrics[0].base == THEORY else "reference"
    most = max(last.submission, last.reference, 1.0)
    return tuple(
        Bar(
            name=name,
            is_submission=name == "yours",
            length=round(100 * amount / most, 1),
            text=finding.amount_text(amount),
        )
        for name, amount in (("yours", last.submission), (base, last.reference))
    )
