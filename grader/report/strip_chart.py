"""A strip for one or two figures: a dot per fork, the interval of all together, the tiers.

Takes: `MetricView`s of one unit. Gives: `Strip`. Pure. Does not cover: drawing (see
`templates/pace.html.j2`).

Places along a strip are in percent of its width and heights in pixels, so that a page of any width
shows text of one size.
"""

from dataclasses import dataclass

from grader.report.axis import Axis, Tick, make_axis
from grader.report.target_view import MetricView

LANES_TOP = 44.0
LANE_HEIGHT = 58.0
DOT_OFFSETS = (0.0, -6.0, 6.0)
"""Dots of equal value are told apart by standing in three rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """One fork: place in percent, height in pixels."""

    x: float
    y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One figure on a strip.

    Attributes:
        name: what it is.
        decides: whether points depend on it.
        top: where the lane begins, in pixels.
        dots: one per fork.
        y: height of the interval.
        low: its lower end, in percent as all that follow.
        high: its upper end.
        cut_low: whether the lower end lies outside.
        cut_high: whether the upper end lies outside.
        estimate: of all forks together.
        counted: the bound that points are given for; none if it earned none.
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
    """A tier: its place in percent, its words, their height, and the side on which they stand."""

    x: float
    text: str
    y: float
    at_end: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """Figures of one unit above each other.

    Attributes:
        title: what is shown.
        text: the same in a sentence per figure.
        lanes: those that decide first.
        tiers: of the figures that decide, full points first.
        full_to: where full points end, in percent.
        pass_to: where points end.
        ticks: along the bottom.
        bottom: height of the axis in pixels.
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
    """Place the marks of figures of one unit; those that decide come first."""
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
        full_to=axis.place(first.full_at),
        pass_to=axis.place(first.pass_at),
        ticks=axis.ticks(first.words),
        bottom=LANES_TOP + LANE_HEIGHT * len(metrics),
        caption=(
            "power of the size beyond the reference's; less is better"
            if first.is_slope
            else f"times {first.base}{first.where}; less is better"
        ),
    )


def describe_metric(metric: MetricView) -> str:
    """Return a figure with interval and tiers as one sentence."""
    estimate, low, high = (metric.words(x) for x in (metric.estimate, metric.low, metric.high))
    value = f"size to the power of {estimate}" if metric.is_slope else f"{estimate} times"
    limits = f"passes up to {metric.words(metric.pass_at)}"
    if metric.has_tiers_apart:
        limits += f", full points up to {metric.words(metric.full_at)}"
    forks = f"{len(metric.forks)} forks"
    if metric.forks:
        forks += f" from {metric.words(min(metric.forks))} to {metric.words(max(metric.forks))}"
    told = limits if metric.decides else "not decisive"
    beyond = "beyond" if metric.is_slope else "of"
    return (
        f"{metric.name}: {value} {beyond} {metric.base}, interval {low} to {high}, {forks}; {told}."
    )


def _draw_lane(metric: MetricView, number: int, axis: Axis) -> Lane:
    top = LANES_TOP + LANE_HEIGHT * number
    return Lane(
        name=metric.meter if metric.decides else f"{metric.meter}, not decisive",
        decides=metric.decides,
        top=top,
        dots=tuple(
            Dot(x=axis.place(value), y=top + 25 + DOT_OFFSETS[n % 3])
            for n, value in enumerate(metric.forks)
        ),
        y=top + 45,
        low=axis.place(metric.low),
        high=axis.place(metric.high),
        cut_low=axis.cuts(metric.low),
        cut_high=axis.cuts(metric.high),
        estimate=axis.place(metric.estimate),
        counted=tuple(axis.place(value) for value in metric.counted),
    )


def _draw_tiers(metric: MetricView, axis: Axis) -> tuple[TierMark, ...]:
    full, passing = metric.words(metric.full_at), metric.words(metric.pass_at)
    wanted = [(metric.pass_at, f"passes up to {passing}", 30.0)]
    if metric.has_tiers_apart:
        wanted = [
            (metric.full_at, f"full points up to {full}", 13.0),
            (metric.pass_at, f"half the points up to {passing}", 30.0),
        ]
    return tuple(
        TierMark(x=axis.place(at), text=text, y=y, at_end=axis.place(at) > 50)
        for at, text, y in wanted
    )
