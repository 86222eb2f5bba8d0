"""What a box says about its own time, believed only inside bounds that were measured outside.

Takes: CUDA event times that the runner reports, the judge's own wall times, and what an empty call
costs. Gives: `Accepted` or `BrokenBound`. Does not cover: what follows from a broken bound (the
criterion is held, see `judge`), the floor (see `performance.decide.plausibility`).

The events lie between request and reply, so their sum is at most the judge's time. The rest of that
time is the round trip, the launch and the judge's snapshot, whose cost is calibrated with empty
calls: so the sum is at least the judge's time without that. A box that claims less hides work; one
that claims more has lost its clock.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from grader.errors import DeviceError

MIN_CALIBRATION = 20
DEVIATIONS = 4.0
"""Standard deviations that an honest overhead is allowed to lie from its mean."""
EVENT_RESOLUTION_NS = 500
"""Source: cuEventElapsedTime, CUDA driver API: "a resolution of around 0.5 microseconds"."""
CLOCK_DRIFT = 1e-4
"""Share by which two oscillators may differ; crystals differ by less than 100 in a million."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overhead:
    """What one call costs besides the work on the device, on the judge's clock.

    Attributes:
        mean_ns: over the calibration's empty calls.
        deviation_ns: standard deviation of one call.
        longest_ns: of the calibration.
        calls: of the calibration.
    """

    mean_ns: float
    deviation_ns: float
    longest_ns: int
    calls: int

    def most_ns(self, calls: int) -> float:
        """Return the most that `calls` honest calls cost together.

        The mean is itself uncertain by `deviation / √n` per call, which adds up over the calls;
        one call may be as slow as the slowest of the calibration.
        """
        own = self.deviation_ns * math.sqrt(calls)
        of_mean = self.deviation_ns * calls / math.sqrt(self.calls)
        most = calls * self.mean_ns + DEVIATIONS * math.hypot(own, of_mean)
        return max(most, (calls - 1) * self.mean_ns + self.longest_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A claim within its bounds.

    Attributes:
        time_ns: sum of the events.
        least_ns: the least that could have been claimed.
        most_ns: the most.
    """

    time_ns: int
    least_ns: float
    most_ns: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenBound:
    """A claim outside its bounds.

    Attributes:
        evidence: what was claimed and what was measured, for the person who resolves it.
    """

    evidence: str


def calibrate(empty_ns: Sequence[int]) -> Overhead:
    """Return the overhead from the wall times of empty calls in ns.

    Raises:
        DeviceError: if there are fewer than `MIN_CALIBRATION`, or one that is no time.
    """
    if len(empty_ns) < MIN_CALIBRATION or min(empty_ns) <= 0:
        raise DeviceError(
            f"an overhead needs {MIN_CALIBRATION} empty calls, found {len(empty_ns)}",
            hint="calibrate with more calls",
        )
    return Overhead(
        mean_ns=statistics.fmean(empty_ns),
        deviation_ns=statistics.stdev(empty_ns),
        longest_ns=max(empty_ns),
        calls=len(empty_ns),
    )


def check_claim(
    events_ns: Sequence[object], walls_ns: Sequence[int], overhead: Overhead
) -> Accepted | BrokenBound:
    """Compare the event times of timed calls with the judge's own times of the same calls.

    Each call by itself, and all together, which is the tighter bound: what a call hides by staying
    just within its own bound adds up.

    Args:
        events_ns: one claim per call, as it came.
        walls_ns: one time per call, from request to the judge's completed snapshot.
        overhead: calibrated in the same box.
    """
    if not walls_ns or len(events_ns) != len(walls_ns):
        return BrokenBound(evidence=f"{len(events_ns)} event times for {len(walls_ns)} calls")
    total = 0
    for number, (event_ns, wall_ns) in enumerate(zip(events_ns, walls_ns, strict=True)):
        if not isinstance(event_ns, int) or isinstance(event_ns, bool) or event_ns < 0:
            return BrokenBound(evidence=f"call {number}: an event time of {event_ns!r:.40}")
        least, most = bounds_ns(wall_ns, 1, overhead)
        if not least <= event_ns <= most:
            return _broken(f"call {number}", event_ns, wall_ns, overhead.most_ns(1))
        total += event_ns
    sandbox, calls = sum(walls_ns), len(walls_ns)
    least, most = bounds_ns(sandbox, calls, overhead)
    if not least <= total <= most:
        return _broken(f"{calls} calls", total, sandbox, overhead.most_ns(calls))
    return Accepted(time_ns=total, least_ns=least, most_ns=most)


def bounds_ns(wall_ns: int, calls: int, overhead: Overhead) -> tuple[float, float]:
    """Return the least and the most that the events of `calls` calls may add up to."""
    tolerance = calls * EVENT_RESOLUTION_NS + wall_ns * CLOCK_DRIFT
    least = max(wall_ns - overhead.most_ns(calls) - tolerance, 0.0)
    return least, wall_ns + tolerance


def _broken(what: str, event_ns: int, wall_ns: int, overhead_ns: float) -> BrokenBound:
    return BrokenBound(
        evidence=f"{what}: events claim {event_ns / 1e3:.1f} us of {wall_ns / 1e3:.1f} us on the "
        f"judge's clock, of which at most {overhead_ns / 1e3:.1f} us can be overhead"
    )
