"""All pictures of a measured target.

Takes: `PaceView`. Gives: `PaceChart`. Pure. Does not cover: the pictures themselves (see
`strip_chart`, `growth_chart`, `timeline_chart`).
"""

from dataclasses import dataclass

from grader.report.growth_chart import Growth, draw_growth
from grader.report.pace_view import PaceView
from grader.report.strip_chart import Strip, draw_strip
from grader.report.timeline_chart import Timeline, draw_timeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """What one side took, for a ratio: a bar with its length in percent."""

    name: str
    is_subject: bool
    length: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PaceChart:
    """All pictures of a target: bars and a strip for a ratio, lines and two strips for growth.

    Of ranks whose time was measured, also a timeline.
    """

    strips: tuple[Strip, ...]
    growth: tuple[Growth, ...]
    bars: tuple[Bar, ...]
    timelines: tuple[Timeline, ...]


def draw_pace(pace: PaceView) -> PaceChart:
    """Place every mark of a measured target."""
    slopes = tuple(figure for figure in pace.figures if figure.is_slope)
    ratios = tuple(figure for figure in pace.figures if not figure.is_slope)
    return PaceChart(
        strips=tuple(draw_strip(figures) for figures in (slopes, ratios) if figures),
        growth=(draw_growth(pace),) if slopes else (),
        bars=() if slopes else _draw_bars(pace),
        timelines=(draw_timeline(pace.timelines),) if pace.timelines else (),
    )


def _draw_bars(pace: PaceView) -> tuple[Bar, ...]:
    last = pace.sizes[-1]
    base = "needed" if pace.figures[0].base == "what arithmetic says" else "reference"
    most = max(last.subject, last.reference, 1.0)
    return tuple(
        Bar(
            name=name,
            is_subject=name == "yours",
            length=round(100 * amount / most, 1),
            text=pace.amount_words(amount),
        )
        for name, amount in (("yours", last.subject), (base, last.reference))
    )
