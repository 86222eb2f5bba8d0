"""The result of the benchmark of verdicts, as it is written to a file.

Its requirements are in `benchmarks.verdicts.bounds`; it is printed by `benchmarks.verdicts.table`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.verdicts.bounds import (
    Bound,
    Resolution,
    bounds_of,
    proportion_interval,
    resolutions_of,
)
from benchmarks.verdicts.live import LiveVerdict
from benchmarks.verdicts.machine import Machine
from benchmarks.verdicts.recording import Recording
from benchmarks.verdicts.replay import BLOCK_FORKS, Tally
from grader.assignment.target import Quantity
from grader.performance.decide.interval import RESAMPLES
from grader.performance.decide.metrics import RULES
from grader.performance.decide.sequential_test import ERROR_RATE, NOISE_TEST_ERROR_RATE, Rule
from grader.performance.decide.totals import MAX_DISCARDED_SHARE


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """The parameters of the method.

    Attributes:
        rule: stages and widths of the test.
        error_rate: of one verdict, over all stages.
        noise_test_error_rate: of finding a submission noisier than the reference though it is not.
        resamples: of the bootstrap over forks.
        max_discarded_share: largest share of the forks that may be left out.
        block_forks: forks per block of a replayed series.
    """

    rule: Rule
    error_rate: float
    noise_test_error_rate: float
    resamples: int
    max_discarded_share: float
    block_forks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CellResult:
    """One cell's counts with confidence intervals of the rates.

    The intervals hold for series drawn from this pool; how far another pool may differ is in the
    pool's standard error.

    Attributes:
        tally: counts.
        wrong: number of wrong verdicts, with the pool's ratio as the truth.
        wrong_rate: 95 % confidence interval of their rate (Clopper-Pearson).
        wrong_by_count: number of wrong verdicts, with the ratio of the work as the truth.
        wrong_by_count_rate: interval of their rate.
        contradicted: number of wrong verdicts with an interval wholly on the wrong side, or a FAIL.
        contradicted_rate: interval of their rate.
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
    """All results.

    Attributes:
        machine: where and when.
        sandbox: name of the backend.
        quick: whether it was a short run, too small for conclusions.
        method: the parameters.
        wider: spread of whole chunks of forks, as a multiple of what their forks predict.
        bounds: requirements and whether they hold.
        resolutions: where the benefit of the doubt ends.
        cells: all of them.
        live: verdicts of whole gradings.
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
    """Return the result of a recording and its tallies."""
    method = Method(
        rule=RULES[Quantity.TIME],
        error_rate=ERROR_RATE,
        noise_test_error_rate=NOISE_TEST_ERROR_RATE,
        resamples=RESAMPLES,
        max_discarded_share=MAX_DISCARDED_SHARE,
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
        wrong_rate=proportion_interval(tally.wrong, tally.series),
        wrong_by_count=tally.wrong_by_count,
        wrong_by_count_rate=proportion_interval(tally.wrong_by_count, tally.series),
        contradicted=tally.contradicted,
        contradicted_rate=proportion_interval(tally.contradicted, tally.series),
    )
