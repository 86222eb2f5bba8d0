"""Memory of a device: how little room a submission was seen to need, next to the reference's peak.

Takes: forks whose runs say what room was left, a tier. Gives: `next_ratio`, `decide_memory_cap`.
Pure. Does not cover: leaving the room (see `performance.measure.memory_search`).

The peak of a box on a device cannot be read from outside: memory that was taken and given back
within a call is seen by nobody but its process. So the judge holds the rest of the device's memory
as ballast, and what a submission does in the room that is left, it does with no more: the first run
has all of the device (a failure there is the submission's own), the second the room of full points,
the third that of a pass. Between the two the room is halved, in logarithms, as often as forks are
left. The reference is ours, gives nothing back on the sly, and its peak is what was missing at its
replies; its caches are in it, so a room is never tighter than its tier says.
"""

import math

from grader.assignment.target import Tier
from grader.evidence.samples import ForkSample
from grader.performance.decide.interval import Interval
from grader.performance.decide.metric import Kind, Metric
from grader.performance.decide.sequential_test import Outcome, share

MEMORY_STAGES = (2, 3, 6)
"""Forks after which the rooms are looked at: full points, a pass, a place between the two."""
GRAIN_BYTES = 2 << 20
"""Memory comes in pieces of this size (the granularity of CUDA's); nobody needs less than one."""


def has_memory_caps(forks: tuple[ForkSample, ...]) -> bool:
    """Return whether the runs had a device's memory measured."""
    return any(pair.submission.caps for fork in forks for pair in fork.pairs)


def next_ratio(tier: Tier, forks: tuple[ForkSample, ...]) -> float:
    """Return the room of the next fork, as a ratio to the reference's peak; infinite for all."""
    if not forks:
        return math.inf
    at_least, at_most = _between(forks)
    if at_most <= tier.full_at or len(forks) == 1:
        return tier.full_at
    if at_most > tier.pass_at:
        return tier.pass_at
    return math.sqrt(max(at_least, tier.full_at) * at_most)


def decide_memory_cap(tier: Tier, forks: tuple[ForkSample, ...]) -> tuple[Outcome, float, Metric]:
    """Return the outcome, the share of the points, and the figure that they stand on.

    The room that sufficed is credited; how far below it the need lies is halved by every fork.
    """
    at_least, at_most = _between(forks)
    passed = at_most <= tier.pass_at
    if passed:
        done = at_most <= tier.full_at or len(forks) >= MEMORY_STAGES[-1]
        outcome = Outcome.PASS if done else Outcome.OPEN
    else:
        outcome = Outcome.FAIL if at_least >= tier.pass_at else Outcome.OPEN
    earned = share(at_most, pass_at=tier.pass_at, full_at=tier.full_at)
    metric = Metric(
        kind=Kind.MEMORY_CAP,
        interval=Interval(
            estimate=_log(at_most if passed else at_least), low=_log(at_least), high=_log(at_most)
        ),
        own_half_width=0.0,
        explained=False,
        pass_at=_log(tier.pass_at),
        full_at=_log(tier.full_at),
    )
    return outcome, earned if outcome is Outcome.PASS else 0.0, metric


def _between(forks: tuple[ForkSample, ...]) -> tuple[float, float]:
    """Return the largest room that was too small and the smallest that sufficed, as ratios."""
    pairs = [pair for fork in forks for pair in fork.pairs]
    least = min(GRAIN_BYTES / max(pair.reference.peak_bytes, GRAIN_BYTES) for pair in pairs)
    caps = [cap for pair in pairs for cap in pair.submission.caps]
    most = min((cap.ratio for cap in caps if cap.sufficed), default=math.inf)
    too_small = max((cap.ratio for cap in caps if not cap.sufficed), default=least)
    return min(too_small, most), most


def _log(ratio: float) -> float:
    return math.log(ratio) if ratio > 0 else -math.inf
