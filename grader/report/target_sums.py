"""Times and bytes of submission and reference, fork by fork, summed as for the verdict. Pure."""

from dataclasses import dataclass

import numpy as np

from grader.assignment.plan import PlannedTarget
from grader.assignment.target import Clock
from grader.evidence.samples import ForkSample, TargetMeasurement
from grader.performance.decide.interval import Kind, Totals, slope_weights
from grader.performance.decide.totals import Amount, net_time, pair_counts, totals_of

_CPU_KINDS = (Kind.CPU_RATIO, Kind.CPU_GROWTH, Kind.CPU_LARGEST)


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeView:
    """Net nanoseconds, or bytes, of both sides at one size: per run over all forks, and by fork.

    For network traffic, those of the reference are the theoretical amount.
    """

    size: int
    submission: float
    reference: float
    submission_forks: tuple[float, ...]
    reference_forks: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSums:
    """Totals of both sides of one target, from the forks that count."""

    target: PlannedTarget
    measured: TargetMeasurement
    forks: tuple[ForkSample, ...]

    def per_fork(self, kind: Kind) -> tuple[float, ...]:
        """Return the metric of each fork alone: a slope, or the logarithm of a ratio."""
        sizes = self.target.sizes if kind.is_slope else self.target.sizes[-1:]
        submission, reference = self._totals(kind, sizes)
        logs = np.log(submission / reference) @ np.array(slope_weights(sizes))
        return tuple(float(value) for value in logs)

    def sizes(self, kind: Kind) -> tuple[SizeView, ...]:
        """Return time or bytes of both sides per run, at every size."""
        sizes = self.target.sizes
        runs = np.maximum(pair_counts(self.forks, sizes), 1)
        submission, reference = self._totals(kind, sizes)
        return tuple(
            SizeView(
                size=size,
                submission=float(submission[:, n].sum() / runs[:, n].sum()),
                reference=float(reference[:, n].sum() / runs[:, n].sum()),
                submission_forks=tuple(float(x) for x in submission[:, n] / runs[:, n]),
                reference_forks=tuple(float(x) for x in reference[:, n] / runs[:, n]),
            )
            for n, size in enumerate(sizes)
        )

    def _totals(self, kind: Kind, sizes: tuple[int, ...]) -> tuple[Totals, Totals]:
        amount = self._amount(kind)
        submission = totals_of(self.forks, sizes, amount, submission=True)
        if kind is not Kind.TRAFFIC:
            return submission, totals_of(self.forks, sizes, amount, submission=False)
        needed = {work.size: max(work.traffic_bytes, 1) for work in self.measured.work}
        return submission, pair_counts(self.forks, sizes) * [needed.get(s, 1) for s in sizes]

    def _amount(self, kind: Kind) -> Amount:
        if kind in (Kind.MEMORY, Kind.MEMORY_CAP):
            return lambda run: run.peak_bytes
        if kind is Kind.TRAFFIC:
            return self.measured.net_traffic_bytes
        return net_time(self.measured, Clock.CPU if kind in _CPU_KINDS else Clock.WALL).amount


def exponents(sizes: tuple[SizeView, ...]) -> tuple[float, float]:
    """Return the slopes of log(time) over log(size), of submission and reference."""
    weights = np.array(slope_weights(tuple(size.size for size in sizes)))
    sides = ([size.submission for size in sizes], [size.reference for size in sizes])
    submission, reference = (float(np.log(np.array(side)) @ weights) for side in sides)
    return submission, reference
