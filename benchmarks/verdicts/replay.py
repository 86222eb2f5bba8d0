"""Replays recorded forks: how often the group-sequential test gives a wrong verdict.

Input: the chunks of a cell and the rule that grades. Output: a `Tally`. The allowed rates are in
`benchmarks.verdicts.bounds`.

A series is drawn with replacement in blocks of forks that ran one after the other (a block
bootstrap). So disturbances longer than a fork stay together, and each side runs first equally
often. The series is then tested as in grading: after each stage's number of forks, until a stage
decides.

The true ratio of a series is the ratio of its pool's sums. It differs from the known ratio of the
work by the pool's sampling error. Wrong verdicts are counted against both.
Source: Künsch, "The jackknife and the bootstrap for general stationary observations", Annals of
Statistics 17 (1989), for blocks.
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
from grader.performance.decide.interval import Kind
from grader.performance.decide.metrics import RULES, Decision, decide
from grader.performance.decide.sequential_test import Outcome
from grader.performance.decide.totals import net_time, totals_of

BLOCK_FORKS = 2
SEED = 20_261_121
NEAR = {Neighbour.NONE: 0.02, Neighbour.NOISY: 0.06}
"""Largest relative distance of an estimated ratio from the ratio of the work to count as near."""

STAGES = RULES[Quantity.TIME].stages
Judge = Callable[[PlannedTarget, Tier, TargetMeasurement], Decision]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pooled:
    """The ratio of processor times over all forks of a cell, none of them left out.

    Attributes:
        log_ratio: of all the submission's time to all the reference's.
        error: its standard error, from the spread of whole chunks.
        chunk_spread: variance of chunks' log ratios.
        fork_spread: variance that the forks' own log ratios predict for chunks.
    """

    log_ratio: float
    error: float
    chunk_spread: float
    fork_spread: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """The verdicts on a cell's series.

    Attributes:
        cell: of the series.
        pool_forks: number of recorded forks.
        series: number of series drawn.
        verdicts: number of each verdict.
        missed: number whose last interval does not contain the pool's ratio.
        near: number whose ratio lies near the ratio of the work.
        by_wall_clock: number decided by the wall clock.
        mean_forks: mean number of forks until the last stage.
        pooled: the pool's own ratio.
    """

    cell: Cell
    pool_forks: int
    series: int
    verdicts: dict[Verdict, int]
    missed: int
    near: int
    by_wall_clock: int
    mean_forks: float
    pooled: Pooled

    def count(self, *verdicts: Verdict) -> int:
        """Return how many series had one of these verdicts."""
        return sum(self.verdicts.get(verdict, 0) for verdict in verdicts)

    @property
    def over(self) -> bool:
        """Whether the pool's ratio is over the target."""
        return self.pooled.log_ratio > math.log(PASS_AT)

    @property
    def wrong(self) -> int:
        """How many verdicts are wrong, with the pool's ratio as the truth."""
        return self._wrong(over=self.over)

    @property
    def wrong_by_count(self) -> int:
        """How many verdicts are wrong, with the ratio of the work as the truth."""
        return self._wrong(over=self.cell.slowness.factor > 1)

    @property
    def contradicted(self) -> int:
        """How many verdicts are wrong with an interval wholly on the wrong side.

        They are wrong by the ratio of the work and by the pool's ratio. Where these disagree, the
        pool's error is larger than its distance from the target, so the truth is not known: 0.
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
    by_wall_clock: bool
    forks: int


def replay(
    recording: Recording, target: PlannedTarget, *, series: int, processes: int
) -> tuple[Tally, ...]:
    """Draw series from every cell's pool and judge them."""
    pools = recording.pools()
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as workers:
        futures = [
            workers.submit(replay_cell, cell, chunks, target, series)
            for cell, chunks in pools.items()
        ]
        return tuple(one.result() for one in futures)


def replay_cell(
    cell: Cell,
    chunks: Sequence[TargetMeasurement],
    target: PlannedTarget,
    series: int,
    judge: Judge = decide,
) -> Tally:
    """Draw series from one pool and judge them by a rule; the draws are always the same."""
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
        by_wall_clock=sum(ending.by_wall_clock for ending in endings),
        mean_forks=sum(ending.forks for ending in endings) / series,
        pooled=pooled,
    )


def draw_series(chunks: Sequence[TargetMeasurement], rng: np.random.Generator) -> TargetMeasurement:
    """Return as many forks as the last stage needs, in blocks drawn with replacement."""
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
    """Return the ratio over all forks of the chunks."""
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
    """Test a series stage by stage until one decides."""
    for stage in STAGES:
        decision = judge(target, target.tiers[0], replace(series, forks=series.forks[:stage]))
        if decision.unmetered or decision.outcome is not Outcome.OPEN:
            break
    if not decision.metrics:
        return _Ending(
            verdict=Verdict.UNGRADED,
            log_ratio=math.nan,
            missed=False,
            by_wall_clock=False,
            forks=stage,
        )
    metric = decision.metrics[0]
    return _Ending(
        verdict=verdict_of(decision),
        log_ratio=metric.interval.estimate,
        missed=not metric.interval.low <= log_ratio <= metric.interval.high,
        by_wall_clock=metric.kind is Kind.WALL_RATIO,
        forks=stage,
    )
