"""The cells of the benchmark: factors around the target × patterns × neighbours, and how often.

They are measured in `benchmarks.verdicts.recording`.
"""

from dataclasses import dataclass

from benchmarks.verdicts.neighbour import Neighbour
from benchmarks.verdicts.patterns import SAME, Pattern, Slowness

NEAR = (0.90, 0.95, 0.98, 1.00, 1.02, 1.05, 1.10)
FAR = (NEAR[0], NEAR[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The amount that is measured and replayed.

    Attributes:
        factors: multiples of the target; the reference against itself is added.
        rounds: chunks of forks per cell.
        series: number of replayed series per cell.
        live: number of whole gradings per far factor, pattern and neighbour.
        patterns: how slowness is spread over calls.
    """

    factors: tuple[float, ...]
    rounds: int
    series: int
    live: int
    patterns: tuple[Pattern, ...] = tuple(Pattern)


FULL = Scale(factors=NEAR, rounds=9, series=5000, live=5)
QUICK = Scale(factors=FAR, rounds=2, series=200, live=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One combination; its chunks make a pool.

    Attributes:
        slowness: of the submission.
        neighbour: what else ran on the machine.
    """

    slowness: Slowness
    neighbour: Neighbour

    @property
    def is_same(self) -> bool:
        """Whether the submission does as much work as the reference."""
        return self.slowness.factor == SAME


def cells_of(scale: Scale) -> tuple[Cell, ...]:
    """Return every cell: factors × patterns × neighbours, and the reference against itself."""
    slow = [Slowness(factor=SAME, pattern=Pattern.STEADY)]
    slow += [
        Slowness(factor=f, pattern=pattern) for f in scale.factors for pattern in scale.patterns
    ]
    return tuple(Cell(slowness=one, neighbour=kind) for kind in Neighbour for one in slow)
