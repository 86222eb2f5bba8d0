"""Work is counted: every pattern does exactly what its factor says, in every process."""

import ast
import math

import pytest

from benchmarks.verdicts.cells import FULL, QUICK, cells_of
from benchmarks.verdicts.patterns import (
    CALLS_PER_FORK,
    PASS_AT,
    REFERENCE_UNITS,
    SAME,
    Pattern,
    Slowness,
    submission_of,
    work_counts,
)
from grader.assignment.target import Quantity
from grader.performance.measure.interleaved import TURNS

FACTORS = sorted({cell.slowness.factor for cell in cells_of(FULL)})


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("pattern", Pattern)
def test_the_work_of_a_process_is_exact(factor, pattern):
    slowness = Slowness(factor=factor, pattern=pattern)
    counts = work_counts(slowness)
    assert len(counts) == CALLS_PER_FORK
    assert sum(counts) == CALLS_PER_FORK * slowness.units
    exact = factor * PASS_AT
    assert slowness.units / REFERENCE_UNITS == pytest.approx(exact, rel=1e-12)
    assert math.exp(slowness.log_ratio) == pytest.approx(exact, rel=1e-12)


def test_the_patterns_are_what_they_are_called():
    little, much = 720, 2160
    assert set(work_counts(Slowness(factor=0.9, pattern=Pattern.STEADY))) == {1440}
    alternating = work_counts(Slowness(factor=0.9, pattern=Pattern.ALTERNATING))
    assert alternating == (little, much) * 4
    fast_first = work_counts(Slowness(factor=0.9, pattern=Pattern.FAST_FIRST))
    assert fast_first == (little,) * 4 + (much,) * 4


def test_a_process_has_as_many_calls_as_a_fork_measures():
    assert TURNS[Quantity.TIME] * 2 == CALLS_PER_FORK


def test_the_submission_holds_its_counts():
    slowness = Slowness(factor=1.1, pattern=Pattern.ALTERNATING)
    (file,) = submission_of(slowness).files
    (counts,) = [
        ast.literal_eval(node.value)
        for node in ast.parse(file.text).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "COUNTS"
    ]
    assert counts == work_counts(slowness)


def test_the_reference_against_itself_is_a_cell():
    for scale in (FULL, QUICK):
        same = [cell for cell in cells_of(scale) if cell.is_same]
        assert len(same) == 2
        assert all(cell.slowness.units == REFERENCE_UNITS for cell in same)
    assert SAME not in FULL.factors
