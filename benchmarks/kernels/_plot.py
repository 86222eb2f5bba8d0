"""A roofline as SVG: intensity across, operations per second upwards, both in powers of ten.

Takes: `Result`. Gives: the text of an SVG file, without a script or a font of its own. Does not
cover: work without operations (`kv_write`), which has no place on a logarithmic axis; rivals' names
(the table has them), whose points are hollow.

The roof is the median of the ceilings of all cases; shares in the table are of each case's own.
"""

import math
import statistics
from dataclasses import dataclass
from xml.sax.saxutils import escape

from benchmarks.kernels._case import OURS
from benchmarks.kernels._result import Point, Result, Row

WIDTH, HEIGHT, KEY_WIDTH = 760, 520, 440
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 50, 50
LINE = 16
COLOURS = ("#1b6ca8", "#c0392b", "#1e8449", "#7d3c98", "#b9770e", "#117a65", "#5d6d7e")


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """Where numbers go, in pixels; the exponents of ten at the ends of both axes."""

    x: tuple[int, int]
    y: tuple[int, int]

    def across(self, intensity: float) -> float:
        low, high = self.x
        share = (math.log10(intensity) - low) / (high - low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def up(self, flops_per_s: float) -> float:
        low, high = self.y
        share = (math.log10(flops_per_s) - low) / (high - low)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def as_svg(result: Result) -> str:
    """Return the roofline of a result; of no points, a sheet that says so."""
    points = [point for point in result.points if point.flops]
    height = max(HEIGHT, TOP + LINE * (len(points) + 4))
    size = f'width="{WIDTH + KEY_WIDTH}" height="{height}"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">']
    parts.append('<rect width="100%" height="100%" fill="white"/>')
    parts.append(_text(LEFT, 20, "Kernels (full) and rivals (hollow) under the measured roofline"))
    if result.note:
        parts.append(_text(LEFT, 38, result.note[:100] + " ...", colour="#c0392b"))
    if points:
        axes = _axes(points, result.rows)
        parts += [*_frame(axes), *_roof(axes, points), *_marks(axes, points, result.rows)]
    else:
        parts.append(_text(LEFT, TOP + LINE, "nothing to show"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _axes(points: list[Point], rows: tuple[Row, ...]) -> Axes:
    intensities = [point.flops / point.bytes_moved for point in points]
    rates = [row.flops_per_s for row in rows if row.flops_per_s]
    rates += [point.ceiling_flops_per_s for point in points]
    return Axes(x=_decades(intensities), y=_decades(rates))


def _decades(values: list[float]) -> tuple[int, int]:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _frame(axes: Axes) -> list[str]:
    parts = []
    for exponent in range(axes.x[0], axes.x[1] + 1):
        x = axes.across(10.0**exponent)
        parts.append(_line(x, TOP, x, HEIGHT - BOTTOM, colour="#ddd"))
        parts.append(_text(x - 12, HEIGHT - BOTTOM + LINE, f"{10.0**exponent:g}"))
    for exponent in range(axes.y[0], axes.y[1] + 1):
        y = axes.up(10.0**exponent)
        parts.append(_line(LEFT, y, WIDTH - RIGHT, y, colour="#ddd"))
        parts.append(_text(8, y + 4, f"{10.0 ** (exponent - 12):g}"))
    parts.append(_text(WIDTH / 2 - 60, HEIGHT - 10, "FLOP per byte"))
    parts.append(_text(8, TOP - 12, "TFLOP/s"))
    return parts


def _roof(axes: Axes, points: list[Point]) -> list[str]:
    """Return the two lines of the roof, cut where they meet and at the edges."""
    bandwidth = statistics.median(point.ceiling_bytes_per_s for point in points)
    peak = statistics.median(point.ceiling_flops_per_s for point in points)
    left, right = 10.0 ** axes.x[0], 10.0 ** axes.x[1]
    start = max(left, 10.0 ** axes.y[0] / bandwidth)
    ridge = min(right, max(start, peak / bandwidth))
    top = min(peak, bandwidth * ridge)
    parts = [
        _line(
            *(axes.across(start), axes.up(bandwidth * start), axes.across(ridge), axes.up(top)),
            colour="black",
        )
    ]
    if ridge < right:
        parts.append(
            _line(
                axes.across(ridge), axes.up(peak), axes.across(right), axes.up(peak), colour="black"
            )
        )
    words = f"copy {bandwidth / 1e9:.0f} GB/s, product {peak / 1e12:.1f} TFLOP/s"
    return [*parts, _text(WIDTH + 4, TOP - 8, words)]


def _marks(axes: Axes, points: list[Point], rows: tuple[Row, ...]) -> list[str]:
    """Return the points, each case with a number, and the key."""
    parts = []
    operations = list(dict.fromkeys(point.operation for point in points))
    for number, point in enumerate(points, 1):
        colour = COLOURS[operations.index(point.operation) % len(COLOURS)]
        x = axes.across(point.flops / point.bytes_moved)
        for row in rows:
            if (row.operation, row.shape) == (point.operation, point.shape):
                y = axes.up(row.flops_per_s)
                ours = row.contender == OURS
                fill = colour if ours else "none"
                parts.append(
                    f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{4 if ours else 3}" stroke="{colour}" '
                    f'fill="{fill}"/>'
                )
                if ours:
                    parts.append(_text(x + 6, y + 4, str(number), colour=colour))
        key = f"{number}  {point.operation} {point.shape}"
        parts.append(_text(WIDTH + 4, TOP + LINE * number, key, colour=colour))
    return parts


def _line(x1: float, y1: float, x2: float, y2: float, *, colour: str) -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{colour}"/>'


def _text(x: float, y: float, words: str, *, colour: str = "#222") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="12" fill="{colour}">{escape(words)}</text>'
