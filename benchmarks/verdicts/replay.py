"""Verdicts on series drawn from recorded forks: how often the stopping rule is wrong.

Takes: the chunks of a cell, the rule that grades. Gives: a `Tally`. Does not cover: what is allowed
(see `benchmarks.verdicts.bounds`).

A series is drawn in blocks of forks that ran one after the other, so that what lasts longer than a
fork stays together, and in which either side goes first equally often. It is then looked at as the
measurer looks: after so many forks, until a look decides.

The truth of a series drawn from a pool is the ratio of the pool's sums; it differs from the count
of the work by the pool's own error. Both are known here, and wrong verdicts are counted by both.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context

import numpy as np

from benchmarks.verdicts.cells import Cell
from benchmarks.verdicts.ending import Verdict, verdict_of
from benchmarks.verdicts.neighbour import Neighbour
from benchmarks.verdicts.patterns import PASS_AT
from benchmarks.verdicts.recording import CHUNK_FORKS, Recording
from grader.assignment.plan import PlannedTarget
from grader.assignment.target import Clock, Quantity, Tier
from grader.evidence.samples import ForkSample, TargetMeasurement
from grader.performance.decide.metric import Kind
from grader.performance.decide.metrics import RULES, Decision, decide
from grader.performance.decide.sequential_test import Outcome
from grader.performance.decide.totals import net_time, totals_of

BLOCK_FORKS = 2
SEED = 20_261_121
NEAR = {Neighbour.NONE: 0.02, Neighbour.NOISY: 0.06}
"""How far an estimated ratio may lie from what the work says and count as near."""

STAGES = RULES[Quantity.TIME].stages
Judge = Callable[[PlannedTarget, Tier, TargetMeasurement], Decision]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pooled:
    """What all forks of a cell say together, on the processor's clock, nothing left out.

    Attributes:
        log_ratio: of all the submission's time to all the reference's.
        error: standard error of it, from the spread of whole chunks.
        chunk_spread: variance of chunks' log ratios.
        fork_spread: variance that the forks' own log ratios predict for chunks.
    """

    log_ratio: float
    error: float
    chunk_spread: float
    fork_spread: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What became of a cell's series.

    Attributes:
        cell: which.
        pool_forks: recorded.
        series: drawn.
        verdicts: how many of each.
        missed: whose last interval does not hold the pool's ratio.
        near: whose ratio lies near what the work says.
        by_sandbox: that were decided by the time on the clock.
        mean_forks: until the last look.
        pooled: the pool's own ratio.
    """

    cell: Cell
    pool_forks: int
    series: int
    verdicts: dict[Verdict, int]
    missed: int
    near: int
    by_sandbox: int
    mean_forks: float
    pooled: Pooled

    def count(self, *verdicts: Verdict) -> int:
        """Return how many series ended so."""
        return sum(self.verdicts.get(verdict, 0) for verdict in verdicts)

    @property
    def over(self) -> bool:
        """Whether the pool is over the target, by its own ratio."""
        return self.pooled.log_ratio > math.log(PASS_AT)

    @property
    def wrong(self) -> int:
        """How many passed over the target, or failed under it, by the pool's own ratio."""
        return self._wrong(over=self.over)

    @property
    def wrong_by_count(self) -> int:
        """The same by the count of the work."""
        return self._wrong(over=self.cell.slowness.factor > 1)

    @property
    def contradicted(self) -> int:
        """How many are wrong with an interval that lies wholly on the wrong side.

        Wrong by the count of the work and by the pool's own ratio: where these two differ, the
        pool's error is larger than its distance from the target, and its truth is not known.
        """
        if self.over != (self.cell.slowness.factor > 1):
            return 0
        return self.count(Verdict.PASS) if self.over else self.count(Verdict.FAIL)

    def _wrong(self, *, over: bool) -> int:
        return sum(n for verdict, n in self.verdicts.items() if verdict.is_wrong(over=over))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ending:
    verdict: Verdict
    log_ratio: float
    missed: bool
    by_sandbox: bool
    forks: int


def replay(
    recording: Recording, target: PlannedTarget, *, series: int, processes: int
) -> tuple[Tally, ...]:
    """Draw series from every cell's pool, and judge them."""
    pools = recording.pools()
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as workers:
        waiting = [
            workers.submit(replay_cell, cell, chunks, target, series)
            for cell, chunks in pools.items()
        ]
        return tuple(one.result() for one in waiting)


def replay_cell(
    cell: Cell,
    chunks: Sequence[TargetMeasurement],
    target: PlannedTarget,
    series: int,
    judge: Judge = decide,
) -> Tally:
    """Draw series from one pool, and judge them by a rule; the same draws every time."""
    rng = np.random.default_rng(SEED)
    pooled = pool(chunks, target)
    endings = [
        _end(draw_series(chunks, rng), target, pooled.log_ratio, judge) for _ in range(series)
    ]
    ratio, near = math.exp(cell.slowness.log_ratio), NEAR[cell.neighbour]
    return Tally(
        cell=cell,
        pool_forks=sum(len(chunk.forks) for chunk in chunks),
        series=series,
        verdicts=dict(Counter(ending.verdict for ending in endings)),
        missed=sum(ending.missed for ending in endings),
        near=sum(abs(math.exp(ending.log_ratio) / ratio - 1) <= near for ending in endings),
        by_sandbox=sum(ending.by_sandbox for ending in endings),
        mean_forks=sum(ending.forks for ending in endings) / series,
        pooled=pooled,
    )


def draw_series(chunks: Sequence[TargetMeasurement], rng: np.random.Generator) -> TargetMeasurement:
    """Return as many forks as the last look needs, in blocks drawn with replacement."""
    blocks = [
        (chunk, start)
        for chunk in chunks
        for start in range(0, len(chunk.forks) - BLOCK_FORKS + 1, BLOCK_FORKS)
    ]
    numbers = rng.integers(0, len(blocks), size=-(-STAGES[-1] // BLOCK_FORKS))
    drawn = [blocks[int(number)] for number in numbers]
    forks: list[ForkSample] = []
    for chunk, start in drawn:
        forks += chunk.forks[start : start + BLOCK_FORKS]
    return replace(drawn[0][0], forks=tuple(forks))


def pool(chunks: Sequence[TargetMeasurement], target: PlannedTarget) -> Pooled:
    """Return the ratio of all forks together."""
    sums: list[tuple[np.ndarray, np.ndarray]] = []
    for chunk in chunks:
        net = net_time(chunk, Clock.CPU).amount
        sides = (
            totals_of(chunk.forks, target.sizes, net, submission=submission)
            for submission in (True, False)
        )
        sums.append((next(sides).sum(1), next(sides).sum(1)))
    by_chunk = np.array([math.log(s.sum() / r.sum()) for s, r in sums])
    by_fork = np.concatenate([np.log(s / r) for s, r in sums])
    many = len(by_chunk) > 1
    return Pooled(
        log_ratio=math.log(sum(s.sum() for s, _ in sums) / sum(r.sum() for _, r in sums)),
        error=float(by_chunk.std(ddof=1)) / math.sqrt(len(by_chunk)) if many else math.inf,
        chunk_spread=float(by_chunk.var(ddof=1)) if many else math.inf,
        fork_spread=float(by_fork.var(ddof=1)) / CHUNK_FORKS,
    )


def _end(
    series: TargetMeasurement, target: PlannedTarget, log_ratio: float, judge: Judge
) -> _Ending:
    """Look until a look decides."""
    for decide_stage in STAGES:
        decision = judge(
            target, target.tiers[0], replace(series, forks=series.forks[:decide_stage])
        )
        if decision.unmetered or decision.outcome is not Outcome.OPEN:
            break
    if not decision.metrics:
        return _Ending(
            verdict=Verdict.UNGRADED,
            log_ratio=math.nan,
            missed=False,
            by_sandbox=False,
            forks=decide_stage,
        )
    metric = decision.metrics[0]
    return _Ending(
        verdict=verdict_of(decision),
        log_ratio=metric.interval.estimate,
        missed=not metric.interval.low <= log_ratio <= metric.interval.high,
        by_sandbox=metric.kind is Kind.WALL_RATIO,
        forks=decide_stage,
    )
