"""The result of a benchmark of verdicts, as it is written to a file.

Takes: a recording, its tallies. Gives: `Result`. Does not cover: what is allowed (see
`benchmarks.verdicts.bounds`), printing (see `benchmarks.verdicts.table`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.verdicts.bounds import Bound, Resolution, bounds_of, resolutions_of
from benchmarks.verdicts.live import LiveVerdict
from benchmarks.verdicts.machine import Machine
from benchmarks.verdicts.proportion import clopper_pearson
from benchmarks.verdicts.recording import Recording
from benchmarks.verdicts.replay import BLOCK_FORKS, Tally
from grader.assignment.target import Quantity
from grader.performance.decide.interval import RESAMPLES
from grader.performance.decide.metrics import RULES
from grader.performance.decide.sequential_test import ERROR_RATE, NOISIER_CHANCE, Rule
from grader.performance.decide.totals import MOST_DISCARDED


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """The parameters that the verdicts were found with.

    Attributes:
        rule: looks, resolution, floor and limit.
        error_rate: of one verdict, over all looks.
        noisier_chance: of calling a submission noisier that is as steady as the reference.
        resamples: of the bootstrap over forks.
        most_discarded: share of the pairs that may be left out.
        block_forks: forks that replayed series keep together.
    """

    rule: Rule
    error_rate: float
    noisier_chance: float
    resamples: int
    most_discarded: float
    block_forks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CellResult:
    """One cell's counts with what they say of the probabilities behind them.

    The intervals hold for series drawn from this pool; what another pool would say is in the
    pool's own standard error.

    Attributes:
        tally: counts.
        wrong: series that passed over the target or failed under it, by the pool's own ratio.
        wrong_rate: Clopper-Pearson bounds of their rate, 95 %.
        wrong_by_count: the same by the count of the work.
        wrong_by_count_rate: its bounds.
        contradicted: series that are wrong with a whole interval on the wrong side, or a FAIL.
        contradicted_rate: its bounds.
    """

    tally: Tally
    wrong: int
    wrong_rate: tuple[float, float]
    wrong_by_count: int
    wrong_by_count_rate: tuple[float, float]
    contradicted: int
    contradicted_rate: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """All that was found.

    Attributes:
        machine: where and when.
        sandbox: name of the backend.
        quick: whether it was a short run, which proves nothing.
        method: with which parameters.
        wider: how many times wider chunks of forks spread than their forks predict.
        bounds: requirements.
        resolutions: where the benefit of the doubt ends.
        cells: all of them.
        live: verdicts from beginning to end.
    """

    machine: Machine
    sandbox: str
    quick: bool
    method: Method
    wider: float
    bounds: tuple[Bound, ...]
    resolutions: tuple[Resolution, ...]
    cells: tuple[CellResult, ...]
    live: tuple[LiveVerdict, ...]


def result_of(recording: Recording, tallies: Sequence[Tally], *, quick: bool) -> Result:
    """Put together what was found."""
    method = Method(
        rule=RULES[Quantity.TIME],
        error_rate=ERROR_RATE,
        noisier_chance=NOISIER_CHANCE,
        resamples=RESAMPLES,
        most_discarded=MOST_DISCARDED,
        block_forks=BLOCK_FORKS,
    )
    pools = [tally.pooled for tally in tallies]
    predicted = sum(pool.fork_spread for pool in pools)
    return Result(
        machine=recording.machine,
        sandbox=recording.sandbox,
        quick=quick,
        method=method,
        wider=math.sqrt(sum(pool.chunk_spread for pool in pools) / predicted),
        bounds=bounds_of(tallies, recording.live),
        resolutions=resolutions_of(tallies),
        cells=tuple(_cell_result(tally) for tally in tallies),
        live=recording.live,
    )


def _cell_result(tally: Tally) -> CellResult:
    return CellResult(
        tally=tally,
        wrong=tally.wrong,
        wrong_rate=clopper_pearson(tally.wrong, tally.series),
        wrong_by_count=tally.wrong_by_count,
        wrong_by_count_rate=clopper_pearson(tally.wrong_by_count, tally.series),
        contradicted=tally.contradicted,
        contradicted_rate=clopper_pearson(tally.contradicted, tally.series),
    )
