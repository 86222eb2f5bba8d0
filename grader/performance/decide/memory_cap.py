"""The memory that a submission needs on a device, found by memory caps.

The peak memory of a process on a device cannot be read from outside: memory that is allocated and
freed within one call is visible to that process only. So the grader reserves the rest of the
device's memory, and a run that finishes under a cap has needed no more than the cap.

Caps are ratios to the reference's peak. The first fork has no cap (a failure there is the
submission's own), the second has the cap of full points, the third the cap of a pass. Every further
fork halves the distance between the largest cap that was too small and the smallest that sufficed,
on a logarithmic scale. The reference's peak is the memory in use at its replies. Its caches are
included, so a cap is never tighter than its tier says.

Not covered: reserving the memory (`performance.measure.memory_search`).
"""

import math

from grader.assignment.target import Tier
from grader.evidence.samples import ForkSample
from grader.performance.decide.interval import Interval, Kind, Metric, log_ratio
from grader.performance.decide.sequential_test import Outcome, share

MEMORY_STAGES = (2, 3, 6)
"""Forks after which it is decided: the cap of full points, the cap of a pass, caps in between."""
GRAIN_BYTES = 2 << 20
"""The granularity of CUDA's memory allocation (cuMemGetAllocationGranularity); no submission needs
less than one piece."""


def has_memory_caps(forks: tuple[ForkSample, ...]) -> bool:
    """Return whether the runs had memory caps."""
    return any(pair.submission.caps for fork in forks for pair in fork.pairs)


def next_ratio(tier: Tier, forks: tuple[ForkSample, ...]) -> float:
    """Return the cap of the next fork as a ratio to the reference's peak; infinite for no cap."""
    if not forks:
        return math.inf
    too_small, sufficed = _bracket(forks)
    if sufficed <= tier.full_at or len(forks) == 1:
        return tier.full_at
    if sufficed > tier.pass_at:
        return tier.pass_at
    return math.sqrt(max(too_small, tier.full_at) * sufficed)


def decide_memory_cap(tier: Tier, forks: tuple[ForkSample, ...]) -> tuple[Outcome, float, Metric]:
    """Return the outcome, the share of the points, and the metric.

    The smallest cap that sufficed earns the points.
    """
    too_small, sufficed = _bracket(forks)
    passed = sufficed <= tier.pass_at
    if passed:
        done = sufficed <= tier.full_at or len(forks) >= MEMORY_STAGES[-1]
        outcome = Outcome.PASS if done else Outcome.OPEN
    else:
        outcome = Outcome.FAIL if too_small >= tier.pass_at else Outcome.OPEN
    earned = share(sufficed, pass_at=tier.pass_at, full_at=tier.full_at)
    metric = Metric(
        kind=Kind.MEMORY_CAP,
        interval=Interval(
            estimate=log_ratio(sufficed if passed else too_small),
            low=log_ratio(too_small),
            high=log_ratio(sufficed),
        ),
        reference_half_width=0.0,
        within_reference_noise=False,
        pass_at=log_ratio(tier.pass_at),
        full_at=log_ratio(tier.full_at),
    )
    return outcome, earned if outcome is Outcome.PASS else 0.0, metric


def _bracket(forks: tuple[ForkSample, ...]) -> tuple[float, float]:
    """Return the largest cap that was too small and the smallest that sufficed, as ratios."""
    pairs = [pair for fork in forks for pair in fork.pairs]
    least = min(GRAIN_BYTES / max(pair.reference.peak_bytes, GRAIN_BYTES) for pair in pairs)
    caps = [cap for pair in pairs for cap in pair.submission.caps]
    sufficed = min((cap.ratio for cap in caps if cap.sufficed), default=math.inf)
    too_small = max((cap.ratio for cap in caps if not cap.sufficed), default=least)
    return min(too_small, sufficed), sufficed
