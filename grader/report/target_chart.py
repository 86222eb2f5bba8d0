"""All pictures of a measured target.

Takes: `TargetFindingView`. Gives: `TargetChart`. Pure. Does not cover: the pictures themselves (see
`strip_chart`, `growth_chart`, `timeline_chart`).
"""

from dataclasses import dataclass

from grader.report.growth_chart import Growth, draw_growth
from grader.report.strip_chart import Strip, draw_strip
from grader.report.target_view import TargetFindingView
from grader.report.timeline_chart import Timeline, draw_timeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """What one side took, for a ratio: a bar with its length in percent."""

    name: str
    is_submission: bool
    length: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetChart:
    """All pictures of a target: bars and a strip for a ratio, lines and two strips for growth.

    Of ranks whose time was measured, also a timeline.
    """

    strips: tuple[Strip, ...]
    growth: tuple[Growth, ...]
    bars: tuple[Bar, ...]
    timelines: tuple[Timeline, ...]


def draw_target(finding: TargetFindingView) -> TargetChart:
    """Place every mark of a measured target."""
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
    base = "needed" if finding.metrics[0].base == "what arithmetic says" else "reference"
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
