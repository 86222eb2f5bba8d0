"""Checks the CUDA event times that a worker claims against bounds measured outside it.

Input: claimed event times, the grader's own wall times of the same calls, and the cost of null
calls. Output: the evidence of a broken bound. What follows from it (a person reviews the points) is
decided in `judge.targets`; the roofline is checked in `performance.decide.plausibility`.

The events lie between request and reply, so together they are at most the grader's wall time. The
rest of that time is the round trip, the launch and the grader's copy of the output. Null calls
measure this overhead, so the events are at least the wall time without it. A worker that claims
less hides work; a worker that claims more has a wrong clock.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from grader.errors import DeviceError

MIN_CALIBRATION = 20
"""Fewest null calls for a mean and a standard deviation."""
DEVIATIONS = 4.0
"""Standard deviations that an honest overhead may lie from its mean; a normal one does so once in
about 16,000 calls."""
EVENT_RESOLUTION_NS = 500
"""Source: cuEventElapsedTime, CUDA driver API: "a resolution of around 0.5 microseconds"."""
CLOCK_DRIFT = 1e-4
"""Share by which two clocks may differ: crystal oscillators differ by less than 100 ppm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overhead:
    """The cost of one call besides the work on the device, on the grader's clock.

    Attributes:
        deviation_ns: standard deviation of one call.
        calls: number of null calls in the calibration.
    """

    mean_ns: float
    deviation_ns: float
    longest_ns: int
    calls: int

    def most_ns(self, calls: int) -> float:
        """Return the largest overhead of `calls` honest calls together.

        Two independent errors add as the root of the sum of squares: the calls' own scatter,
        deviation · sqrt(calls), and the error of the mean over n null calls, deviation / sqrt(n)
        for each call. One call may also be as slow as the slowest null call.
        Source: JCGM 100:2008 (Guide to the Expression of Uncertainty in Measurement), 5.1.2.
        """
        scatter = self.deviation_ns * math.sqrt(calls)
        of_mean = self.deviation_ns * calls / math.sqrt(self.calls)
        most = calls * self.mean_ns + DEVIATIONS * math.hypot(scatter, of_mean)
        return max(most, (calls - 1) * self.mean_ns + self.longest_ns)


def calibrate(empty_ns: Sequence[int]) -> Overhead:
    """Return the overhead from the wall times of null calls in ns.

    Raises:
        DeviceError: if there are fewer than `MIN_CALIBRATION`, or if one is not positive.
    """
    if len(empty_ns) < MIN_CALIBRATION or min(empty_ns) <= 0:
        raise DeviceError(
            f"expected at least {MIN_CALIBRATION} null calls with positive times, "
            f"found {len(empty_ns)} calls",
            hint="calibrate with more calls",
        )
    return Overhead(
        mean_ns=statistics.fmean(empty_ns),
        deviation_ns=statistics.stdev(empty_ns),
        longest_ns=max(empty_ns),
        calls=len(empty_ns),
    )


def check_claim(events_ns: Sequence[object], walls_ns: Sequence[int], overhead: Overhead) -> str:
    """Return the evidence that event times cannot be those of timed calls; empty if they can.

    Each call is checked by itself, then all together. The second bound is tighter: time that each
    call hides just within its own bound adds up.

    Args:
        events_ns: one claim per call, as the worker sent it.
        walls_ns: one time per call, from the request to the grader's completed copy of the output.
        overhead: calibrated in the same kind of worker.
    """
    if not walls_ns or len(events_ns) != len(walls_ns):
        return f"{len(events_ns)} event times for {len(walls_ns)} calls"
    total = 0
    for number, (event_ns, wall_ns) in enumerate(zip(events_ns, walls_ns, strict=True)):
        if not isinstance(event_ns, int) or isinstance(event_ns, bool) or event_ns < 0:
            return f"call {number}: an event time of {event_ns!r:.40}"
        least, most = bounds_ns(wall_ns, 1, overhead)
        if not least <= event_ns <= most:
            return _evidence(f"call {number}", event_ns, wall_ns, overhead.most_ns(1))
        total += event_ns
    total_wall_ns, calls = sum(walls_ns), len(walls_ns)
    least, most = bounds_ns(total_wall_ns, calls, overhead)
    if not least <= total <= most:
        return _evidence(f"{calls} calls", total, total_wall_ns, overhead.most_ns(calls))
    return ""


def bounds_ns(wall_ns: int, calls: int, overhead: Overhead) -> tuple[float, float]:
    """Return the least and the largest plausible sum of the event times of `calls` calls."""
    tolerance = calls * EVENT_RESOLUTION_NS + wall_ns * CLOCK_DRIFT
    least = max(wall_ns - overhead.most_ns(calls) - tolerance, 0.0)
    return least, wall_ns + tolerance


def _evidence(what: str, event_ns: int, wall_ns: int, overhead_ns: float) -> str:
    return (
        f"{what}: events claim {event_ns / 1e3:.1f} us of {wall_ns / 1e3:.1f} us on the "
        f"grader's clock, of which at most {overhead_ns / 1e3:.1f} us can be overhead"
    )
