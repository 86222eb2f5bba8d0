"""Attack 32: be slow at small sizes too, so that nothing seems to grow.

The largest size has a limit of its own."""

from grader.judge.judgement import Cause
from grader.performance.decide.interval import Kind
from tests.hostile.conftest import Racing
from tests.hostile.unhurried import HONEST, SLOW_MIX, SLOW_TALLY

PAD = """
made = 0

class Tally(Tally):
    def __init__(self):
        global made
        super().__init__()
        made += 1
        self.small = made % 2

    def add(self, x):
        super().add(x)
        if self.small:
            for _ in range(13 - len(self.kept)):
                right(x)
"""
"""Sizes come in turns, and every matrix takes as long as the average one of the largest size."""


def test_padded_sizes_grow_less_and_are_too_slow(race: Racing) -> None:
    found = race(HONEST + SLOW_MIX + SLOW_TALLY + PAD, "growth")
    metrics = found.metrics("growth")
    assert metrics[Kind.CPU_GROWTH].interval.estimate < metrics[Kind.CPU_GROWTH].pass_at
    assert metrics[Kind.CPU_LARGEST].interval.low > metrics[Kind.CPU_LARGEST].pass_at
    assert found.cause("growth") is Cause.TOO_SLOW
