"""Axes of the charts in a report: from values to positions, with round numbers as ticks."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

MARGIN = 0.05
"""Free width beside the outermost values, as a share of the axis without it."""
MIN_SPAN = 0.1
"""Least length of an axis in its own unit (10 % if logarithmic): equal values then look equal."""
MAX_TICKS = 6
_MIN_GAP_PERCENT = 13.0
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_DECADES = range(-4, 13)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """One number on an axis; `at` is its position in percent of the axis."""

    at: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A linear or logarithmic axis.

    Attributes:
        low: value at its start; its natural logarithm if the axis is logarithmic.
        high: value at its end, likewise.
    """

    low: float
    high: float
    is_log: bool

    def position(self, value: float) -> float:
        """Return the position of a value in percent; a value outside is put at the edge."""
        share = (self._coordinate(value) - self.low) / (self.high - self.low)
        return round(100 * min(1.0, max(0.0, share)), 2)

    def cuts(self, value: float) -> bool:
        """Return whether a value lies outside."""
        return not self.low <= self._coordinate(value) <= self.high

    def ticks(self, number_text: Callable[[float], str]) -> tuple[Tick, ...]:
        """Return as many round numbers as fit beside each other."""
        fitting = [numbers for numbers in self._candidates() if numbers and self._fits(numbers)]
        numbers = max(fitting, key=len, default=[])
        return tuple(Tick(at=self.position(n), text=number_text(n)) for n in numbers)

    def _candidates(self) -> Iterator[list[float]]:
        """Yield sets of round numbers on the axis."""
        ends = [math.exp(x) if self.is_log else x for x in (self.low, self.high)]
        for step in _STEPS:
            first, last = ends[0] / step, ends[1] / step
            if last - first < 4 * MAX_TICKS:
                yield self._inside(
                    round(n * step, 9) for n in range(math.ceil(first), math.floor(last) + 1)
                )
        if self.is_log:
            for digits in ((1, 2, 5), (1, 3), (1,)):
                yield self._inside(d * 10.0**decade for decade in _DECADES for d in digits)
            yield self._inside(10.0**decade for decade in _DECADES[::3])

    def _inside(self, numbers: Iterable[float]) -> list[float]:
        return [n for n in numbers if (n > 0 or not self.is_log) and not self.cuts(n)]

    def _fits(self, numbers: list[float]) -> bool:
        positions = [self.position(n) for n in numbers]
        gaps = (after - before for before, after in itertools.pairwise(positions))
        return len(positions) <= MAX_TICKS and min(gaps, default=100.0) >= _MIN_GAP_PERCENT

    def _coordinate(self, value: float) -> float:
        if not self.is_log:
            return value
        return math.log(value) if value > 0 else -math.inf


def make_axis(
    wanted: Iterable[float], *, is_log: bool, bounds: Iterable[float] = (), margin: float = MARGIN
) -> Axis:
    """Return an axis that shows all `wanted` values.

    Args:
        wanted: values that must lie on the axis; infinite ones are left out, as are values up to
            zero if it is logarithmic.
        is_log: whether it is logarithmic.
        bounds: values that lie on the axis unless they would make it more than twice as long.
        margin: free width on both sides, as a share.
    """
    coordinates = _finite(wanted, is_log) or [0.0]
    first, last = min(coordinates), max(coordinates)
    low, high = first, last
    reach = max((high - low) / 2, MIN_SPAN)
    for bound in _finite(bounds, is_log):
        low = min(low, max(bound, first - reach))
        high = max(high, min(bound, last + reach))
    missing = max(0.0, MIN_SPAN - (high - low)) / 2
    low, high = low - missing, high + missing
    beside = (high - low) * margin
    return Axis(low=low - beside, high=high + beside, is_log=is_log)


def _finite(values: Iterable[float], is_log: bool) -> list[float]:
    if not is_log:
        return [value for value in values if math.isfinite(value)]
    return [math.log(value) for value in values if 0 < value < math.inf]
