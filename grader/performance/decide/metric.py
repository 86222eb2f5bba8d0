"""The noun that a verdict on performance stands on: one compared quantity with its interval.

Takes: nothing. Gives: `Metric`. Does not cover: how it is made (see `performance.decide.metrics`).
"""

from dataclasses import dataclass
from enum import StrEnum

from grader.performance.decide.interval import Interval


class Kind(StrEnum):
    """What a figure is: its unit and its name in reports."""

    CPU_RATIO = "processor time"
    WALL_RATIO = "time on the clock"
    CPU_GROWTH = "growth of processor time"
    WALL_GROWTH = "growth of time on the clock"
    CPU_LARGEST = "processor time at the largest size"
    WALL_LARGEST = "time on the clock at the largest size"
    MEMORY = "peak memory"
    MEMORY_CAP = "memory of the device"
    TRAFFIC = "bytes on the wire"

    @property
    def is_slope(self) -> bool:
        """Whether the figure is a slope; else it is the logarithm of a ratio."""
        return self in (Kind.CPU_GROWTH, Kind.WALL_GROWTH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One compared quantity.

    Attributes:
        kind: what it is.
        interval: slope, or logarithm of the ratio.
        own_half_width: what the reference's own spread explains of the interval's width.
        explained: whether it explains it.
        by_one_fork: whether it does once the oddest fork is left out.
        pass_at: largest value that passes, in the interval's unit.
        full_at: largest value that earns everything.
    """

    kind: Kind
    interval: Interval
    own_half_width: float
    explained: bool
    by_one_fork: bool = False
    pass_at: float
    full_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofline:
    """How near to what the machine can do both sides came, at the largest size.

    Attributes:
        floor_ns: the least time for the work that the author counts.
        submission: share of the possible speed that the submission reached.
        reference: the same of the reference.
    """

    floor_ns: float
    submission: float
    reference: float
