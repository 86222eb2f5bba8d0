"""Covering arrays: few rows in which every allowed combination of levels occurs.

Takes numbers of levels and the combinations that are forbidden; gives rows of level numbers. The
rows depend on the `Draw` alone, and the promise holds for each: no row has a forbidden combination,
and every combination of the strength that some allowed row has is in one of the rows.

Does not cover: the names of factors and levels, and which cases play the rows (`factors`).
Source: one row at a time, the best of several candidates: Cohen et al., "The AETG system: an
approach to testing based on combinatorial design", IEEE TSE 23(7), 1997.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from grader.assignment.draw import Draw

Cell = tuple[int, int]
"""Number of a factor, and number of one of its levels."""
Combination = tuple[Cell, ...]
"""Cells of different factors, in the order of the factors."""
Levels = tuple[int, ...]
"""A whole row: the number of a level for each factor."""

CANDIDATES = 3
"""Rows that are tried for each row that is kept. Measured: with 1 there are up to 5 % more rows,
with 12 up to 5 % fewer in three times the time."""
_OPEN = -1


@dataclass(slots=True, eq=False)
class Universe:
    """All rows that are allowed.

    Attributes:
        sizes: number of levels of each factor, at least 1.
        forbidden: combinations that no row may have.
    """

    sizes: tuple[int, ...]
    forbidden: tuple[Combination, ...] = ()
    _bound: tuple[int, ...] = field(init=False)
    """Factors that some forbidden combination names; all others are free."""
    _broken: tuple[tuple[Cell, ...], ...] = field(init=False)
    """The forbidden combinations, with positions in `_bound` for factors."""
    _known: dict[tuple[int, ...], bool] = field(init=False, default_factory=dict)
    """Whether a choice for the bound factors, some of them open, can be completed."""

    def __post_init__(self) -> None:
        """Find the factors that are not free."""
        self._bound = tuple(sorted({factor for one in self.forbidden for factor, _ in one}))
        at = {factor: position for position, factor in enumerate(self._bound)}
        self._broken = tuple(
            tuple((at[factor], level) for factor, level in one) for one in self.forbidden
        )

    def allows(self, cells: Iterable[Cell]) -> bool:
        """Return whether some allowed row has all of these cells."""
        chosen = dict(cells)
        return self._completes(tuple(chosen.get(factor, _OPEN) for factor in self._bound))

    def combinations(self, strength: int) -> list[Combination]:
        """Return every combination of `strength` factors that some allowed row has, in order."""
        found: list[Combination] = []
        for factors in itertools.combinations(range(len(self.sizes)), strength):
            choices = [
                [(factor, level) for level in range(self.sizes[factor])] for factor in factors
            ]
            found += [one for one in itertools.product(*choices) if self.allows(one)]
        return found

    def complete(self, cells: Combination, draw: Draw) -> Levels:
        """Return a random allowed row that has these cells; some row must have them."""
        chosen = dict(cells)
        for factor in draw.shuffled([f for f in range(len(self.sizes)) if f not in chosen]):
            options = draw.shuffled(range(self.sizes[factor]))
            chosen[factor] = next(o for o in options if self.allows([*chosen.items(), (factor, o)]))
        return tuple(chosen[factor] for factor in range(len(self.sizes)))

    def _completes(self, key: tuple[int, ...]) -> bool:
        known = self._known.get(key)
        if known is None:
            broken = any(all(key[at] == level for at, level in one) for one in self._broken)
            known = self._known[key] = not broken and self._branches(key)
        return known

    def _branches(self, key: tuple[int, ...]) -> bool:
        if _OPEN not in key:
            return True
        at = key.index(_OPEN)
        levels = range(self.sizes[self._bound[at]])
        return any(self._completes((*key[:at], level, *key[at + 1 :])) for level in levels)


def combinations_in(row: Levels, strength: int) -> Iterable[Combination]:
    """Return the combinations of `strength` factors that a row has."""
    return itertools.combinations(enumerate(row), strength)


def covering_rows(universe: Universe, strength: int, draw: Draw) -> tuple[Levels, ...]:
    """Return rows of a universe that together have every allowed combination of `strength` factors.

    Args:
        universe: what is allowed; of a universe without any row there are no rows.
        strength: number of factors of a combination; at most the number of factors counts.
        draw: decides which of the many arrays it is.
    """
    strength = min(strength, len(universe.sizes))
    waiting = draw.shuffled(universe.combinations(strength))
    left = set(waiting)
    rows: list[Levels] = []
    while left:
        waiting = [one for one in waiting if one in left]
        tried = [_grow(universe, one, left, draw) for one in waiting[:CANDIDATES]]
        rows.append(max(tried, key=lambda row: _new(row, strength, left)))
        left.difference_update(combinations_in(rows[-1], strength))
    return _without_superfluous(rows, strength)


def _new(row: Levels, strength: int, left: set[Combination]) -> int:
    return sum(one in left for one in combinations_in(row, strength))


def _grow(universe: Universe, start: Combination, left: set[Combination], draw: Draw) -> Levels:
    """Return a row that begins with `start` and takes for each factor the level with most gain."""
    chosen, strength = list(start), len(start)
    others = {factor for factor in range(len(universe.sizes))} - {factor for factor, _ in start}
    for factor in draw.shuffled(sorted(others)):
        partners = [tuple(sorted(one)) for one in itertools.combinations(chosen, strength - 1)]
        best, most = (factor, 0), _OPEN
        for level in draw.shuffled(range(universe.sizes[factor])):
            cell = (factor, level)
            if universe.allows((*chosen, cell)):
                gain = sum(_joined(one, cell) in left for one in partners)
                best, most = (cell, gain) if gain > most else (best, most)
        chosen.append(best)
    return tuple(level for _, level in sorted(chosen))


def _joined(cells: Combination, cell: Cell) -> Combination:
    return tuple(sorted((*cells, cell)))


def _without_superfluous(rows: Sequence[Levels], strength: int) -> tuple[Levels, ...]:
    """Leave out rows whose combinations are all in other rows as well."""
    times = Counter(one for row in rows for one in combinations_in(row, strength))
    kept: list[Levels] = []
    for row in rows:
        here = list(combinations_in(row, strength))
        if all(times[one] > 1 for one in here):
            times.subtract(here)
        else:
            kept.append(row)
    return tuple(kept)
