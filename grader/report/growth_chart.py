"""Times of both sides over the sizes of a workload, on logarithmic axes.

Takes: `TargetFindingView` of a target that asks for growth. Gives: `Growth`. Pure. Does not cover:
drawing (see `templates/pace.html.j2`). Places as in `strip_chart`.
"""

from dataclasses import dataclass

from grader.report.axis import Axis, Tick, make_axis
from grader.report.quantities import slope_text, time_text
from grader.report.strip_chart import Dot
from grader.report.target_sums import SizeView
from grader.report.target_view import TargetFindingView

PLOT_TOP = 14.0
PLOT_BOTTOM = 176.0
LABEL_GAP = 15.0
SIDE_ROOM = 0.5
"""Room beside the lines for the times on the left and the names on the right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One side over the sizes.

    Attributes:
        name: whose it is.
        power: of the size, by which its times grow.
        is_submission: whether it is the submission's.
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
    """Times of both sides over sizes, both axes logarithmic.

    Attributes:
        title: what is shown.
        text: the same in a sentence.
        series: submission and reference.
        sizes: along the bottom.
        times: along the side, in pixels.
        bottom: height of the axis in pixels.
    """

    title: str
    text: str
    series: tuple[Series, ...]
    sizes: tuple[Tick, ...]
    times: tuple[Tick, ...]
    bottom: float


def draw_growth(finding: TargetFindingView) -> Growth:
    """Place both sides' times over the sizes."""
    across = make_axis((size.size for size in finding.sizes), is_log=True, margin=SIDE_ROOM)
    up = make_axis(
        (x for s in finding.sizes for x in (*s.submission_forks, *s.reference_forks)), is_log=True
    )
    exponents = finding.exponents[0]
    ends = [
        _height(up, side) for side in (finding.sizes[-1].submission, finding.sizes[-1].reference)
    ]
    labels = _apart(*ends)
    powers = [slope_text(power) for power in exponents]
    return Growth(
        title="Time per run over size, both axes logarithmic",
        text=(
            f"Yours grows with the size to the power of {powers[0]}, the reference to the power "
            f"of {powers[1]}. " + finding.sizes_text
        ),
        series=tuple(
            _draw_series(finding.sizes, (across, up), powers[n], labels[n], is_submission=n == 0)
            for n in (0, 1)
        ),
        sizes=tuple(Tick(at=across.place(s.size), text=str(s.size)) for s in finding.sizes),
        times=tuple(
            Tick(at=PLOT_BOTTOM - (PLOT_BOTTOM - PLOT_TOP) * tick.at / 100, text=tick.text)
            for tick in up.ticks(time_text)
        ),
        bottom=PLOT_BOTTOM,
    )


def _draw_series(
    sizes: tuple[SizeView, ...],
    axes: tuple[Axis, Axis],
    power: str,
    label_y: float,
    *,
    is_submission: bool,
) -> Series:
    across, up = axes
    return Series(
        name="yours" if is_submission else "reference",
        power=power,
        is_submission=is_submission,
        line=tuple(
            Dot(
                x=across.place(s.size),
                y=_height(up, s.submission if is_submission else s.reference),
            )
            for s in sizes
        ),
        dots=tuple(
            Dot(x=across.place(s.size), y=_height(up, value))
            for s in sizes
            for value in (s.submission_forks if is_submission else s.reference_forks)
        ),
        label_y=label_y,
    )


def _height(up: Axis, value: float) -> float:
    return round(PLOT_BOTTOM - (PLOT_BOTTOM - PLOT_TOP) * up.place(value) / 100, 1)


def _apart(first: float, second: float) -> tuple[float, float]:
    """Return two heights that are at least `LABEL_GAP` from each other."""
    push = max(0.0, LABEL_GAP - abs(first - second)) / 2
    sign = -1 if first <= second else 1
    return first + sign * push, second - sign * push
