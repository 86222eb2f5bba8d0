"""`Factors`: what a problem's cases vary, and the rows of levels that its hidden cases play.

A check that varies one thing and holds the rest at its simplest misses every mistake that needs two
things at once. So a problem declares its factors and their levels; together, the hidden cases of
its checks show every pair of levels that the specification allows (every triple if there are at
most eight factors), whatever the seed. `covering` finds the rows; `declare.case` plays them.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from grader.assignment.covering import Cell, Combination, Levels, Universe, covering_rows
from grader.assignment.draw import PUBLIC_SEED, Draw
from grader.errors import AuthorError

Level = Any
"""A text, number, truth value, dtype: anything whose text tells it from the factor's others."""
Rule = Callable[[Mapping[str, Any]], bool]
"""Says of a row whether it is excluded, or whether a check takes it."""

FEW_FACTORS = 8
"""With at most as many factors, triples are covered, else pairs."""
MOST_COMBINATIONS = 20_000
"""Combinations of levels that one rule may look at."""


@dataclass(frozen=True, slots=True)
class Excluded:
    """Combinations of levels that the specification does not allow, or that cost too much.

    Attributes:
        reason: a sentence; `grader validate` prints it.
        rule: says of a row whether it is excluded. It should read as few factors as it needs.
    """

    reason: str
    rule: Rule


class Row(Mapping[str, Any]):
    """One level of each factor: `row["dtype"]`.

    Args:
        levels: by factor.
        numbers: of the levels, in the order of the factors.
        label: the row in words.

    Attributes:
        numbers: of the levels, in the order of the factors.
        label: the row as students read it: "dtype float16, keys 65, not causal".
        read: factors that were read; a factor that a case does not read is not covered by it.
    """

    __slots__ = ("_levels", "label", "numbers", "read")

    def __init__(
        self, levels: Mapping[str, Level], numbers: Levels = (), *, label: str = ""
    ) -> None:
        self._levels, self.numbers, self.label = dict(levels), numbers, label
        self.read: set[str] = set()

    def __getitem__(self, factor: str) -> Level:
        """Return the level of a factor.

        Raises:
            AuthorError: if there is no such factor.
        """
        if factor not in self._levels:
            raise _no_factor(factor, self._levels)
        self.read.add(factor)
        return self._levels[factor]

    def __contains__(self, factor: object) -> bool:
        """Return whether there is such a factor; this does not count as reading it."""
        return factor in self._levels

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the factors."""
        return iter(self._levels)

    def __len__(self) -> int:
        """Return the number of factors."""
        return len(self._levels)


def name_level(factor: str, level: Level) -> str:
    """Return a level with its factor: "dtype float16"; of a truth value "causal", "not causal"."""
    if isinstance(level, bool):
        return factor if level else f"not {factor}"
    return f"{factor} {text_of(level)}"


def text_of(level: Level) -> str:
    """Return the text of a level: `float16` of `torch.float16`."""
    return str(level).removeprefix("torch.")


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """What the cases of a problem vary.

    Attributes:
        problem: name of the problem in `assignment.toml`.
        levels: the levels of each factor, the usual one first.
        excluded: combinations of levels that no row may have, each with its reason.
        strength: number of factors of which every allowed combination of levels is shown; None is
            3 for at most eight factors, else 2.
        reason: why the strength is another one than that; needed if it is given.

    Raises:
        AuthorError: if a factor has no level or two of one text, a level is excluded in every row,
            or a strength has no reason.
    """

    problem: str
    levels: Mapping[str, tuple[Level, ...]]
    excluded: tuple[Excluded, ...] = field(default=(), kw_only=True)
    strength: int | None = field(default=None, kw_only=True)
    reason: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        """Refuse what cannot be covered."""
        for factor, levels in self.levels.items():
            texts = [text_of(level) for level in levels]
            if not levels or len(set(texts)) < len(texts):
                self._refuse(f"{factor}: expected levels with different texts, found {texts}")
        if not self.levels:
            self._refuse("expected at least one factor with its levels, found none")
        if self.strength is not None and (self.strength < 1 or not self.reason.strip()):
            self._refuse("a strength of your own must be at least 1 and have a `reason`")
        universe = universe_of(self)
        for cell in self.cells():
            if not universe.allows((cell,)):
                self._refuse(f"{self.name_cells((cell,))} is excluded in every row")

    @property
    def ways(self) -> int:
        """Number of factors of which every allowed combination of levels is shown."""
        chosen = self.strength or (3 if len(self.levels) <= FEW_FACTORS else 2)
        return min(chosen, len(self.levels))

    def cells(self) -> list[Cell]:
        """Return all levels by their numbers."""
        sizes = map(len, self.levels.values())
        return [(factor, level) for factor, size in enumerate(sizes) for level in range(size)]

    def name_cells(self, cells: Combination) -> str:
        """Return the text of some levels: "keys 65, group 4"."""
        items = list(self.levels.items())
        return ", ".join(name_level(items[f][0], items[f][1][number]) for f, number in cells)

    def row(self, numbers: Levels) -> Row:
        """Return the row with these numbers of levels.

        Its label leaves out the usual: a level that is the first of its factor and no number.
        """
        pairs = zip(self.levels.items(), numbers, strict=True)
        levels = {factor: levels[number] for (factor, levels), number in pairs}
        told = [
            name_level(factor, level)
            for (factor, level), number in zip(levels.items(), numbers, strict=True)
            if number or (isinstance(level, int | float) and not isinstance(level, bool))
        ]
        return Row(levels, numbers, label=", ".join(told) or "nothing special")

    def _refuse(self, why: str) -> None:
        raise AuthorError(f"cases.py: Factors of {self.problem}: {why}")


def no_row(row: Mapping[str, Any]) -> bool:
    """Exclude nothing."""
    return False


def every_row(row: Mapping[str, Any]) -> bool:
    """Take every row."""
    return True


def universe_of(factors: Factors, also: Rule = no_row) -> Universe:
    """Return the rows that are allowed, without those that another rule excludes."""
    rules = (*(one.rule for one in factors.excluded), also)
    found = (one for rule in rules for one in forbidden_by(factors, rule))
    sizes = tuple(len(levels) for levels in factors.levels.values())
    return Universe(sizes=sizes, forbidden=tuple(dict.fromkeys(found)))


class _Asked(Exception):
    """A rule asks for a factor whose level is not chosen yet."""

    def __init__(self, factor: str) -> None:
        super().__init__(factor)
        self.factor = factor


class _Partial(Row):
    """A row of which a rule may ask for more."""

    __slots__ = ("_open",)

    def __init__(self, levels: Mapping[str, Level], factors: Mapping[str, object]) -> None:
        super().__init__(levels)
        self._open = factors

    def __getitem__(self, factor: str) -> Level:
        if factor not in self._open:
            raise _no_factor(factor, self._open)
        if factor not in self._levels:
            raise _Asked(factor)
        return self._levels[factor]

    def __contains__(self, factor: object) -> bool:
        return factor in self._open

    def __iter__(self) -> Iterator[str]:
        return iter(self._open)

    def __len__(self) -> int:
        return len(self._open)


def forbidden_by(factors: Factors, rule: Rule) -> list[Combination]:
    """Return the combinations of exactly the levels that a rule reads before it says True.

    Raises:
        AuthorError: if it looks at too many combinations, or at a factor that does not exist.
    """
    names, found, looked_at = list(factors.levels), [], 0
    waiting: list[dict[str, int]] = [{}]
    while waiting:
        chosen = waiting.pop()
        looked_at += 1
        if looked_at > MOST_COMBINATIONS:
            raise AuthorError(
                f"cases.py: Factors of {factors.problem}: a rule looks at more than "
                f"{MOST_COMBINATIONS:,} combinations of levels",
                hint="let each `Excluded` read the few factors that it is about",
            )
        levels = {factor: factors.levels[factor][number] for factor, number in chosen.items()}
        try:
            if rule(_Partial(levels, factors.levels)):
                found.append(tuple(sorted((names.index(f), n) for f, n in chosen.items())))
        except _Asked as asked:
            numbers = range(len(factors.levels[asked.factor]))
            waiting += [{**chosen, asked.factor: number} for number in reversed(numbers)]
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """The rows of some factors that one check takes.

    Attributes:
        factors: whose rows.
        where: says of a row whether the check takes it.
    """

    factors: Factors
    where: Rule = every_row

    def __post_init__(self) -> None:
        """Refuse a rule that takes no row."""
        if not _region(self).allows(()):
            problem = self.factors.problem
            raise AuthorError(f"cases.py: Factors of {problem}: a `where` takes no allowed row")

    def rows(self, draw: Draw, instances: int) -> tuple[Row, ...]:
        """Return the rows that one instance plays, in order; at least one.

        Args:
            draw: of the instance. From the public seed, all instances together show each level
                that the check can have; else they play a share of the covering array.
            instances: among which the rows are shared out.
        """
        public = draw.seed == PUBLIC_SEED
        found = (_public_rows if public else _hidden_rows)(self, draw.path, draw.seed, instances)
        start = draw.index % instances
        return tuple(self.factors.row(numbers) for numbers in found[start::instances])


@functools.lru_cache(maxsize=64)
def _region(selection: Selection) -> Universe:
    return universe_of(selection.factors, also=lambda row: not selection.where(row))


@functools.lru_cache(maxsize=64)
def hidden_array(factors: Factors, assignment: tuple[str, ...], seed: str) -> tuple[Levels, ...]:
    """Return the covering array of a seed, which the checks of a problem share."""
    draw = Draw(seed, (*assignment, factors.problem, "rows of factors", *factors.levels), 0)
    return covering_rows(universe_of(factors), factors.ways, draw)


@functools.lru_cache(maxsize=64)
def _hidden_rows(
    selection: Selection, path: tuple[str, ...], seed: str, instances: int
) -> tuple[Levels, ...]:
    """Return the rows of the array that a check takes, and more if some instance had none."""
    array = hidden_array(selection.factors, path[:1], seed)
    found = [one for one in array if selection.where(selection.factors.row(one))]
    draw = Draw(seed, (*path, "more rows"), 0)
    while len(found) < instances:
        found.append(_region(selection).complete((), draw))
    return tuple(found)


@functools.lru_cache(maxsize=64)
def _public_rows(
    selection: Selection, path: tuple[str, ...], seed: str, instances: int
) -> tuple[Levels, ...]:
    region, draw = _region(selection), Draw(seed, (*path, "public rows"), 0)
    found = list(covering_rows(region, 1, draw))
    while len(found) < instances:
        found.append(region.complete((), draw))
    return tuple(found)


def _no_factor(factor: str, known: Mapping[str, object]) -> AuthorError:
    return AuthorError(f"no factor is called {factor!r}; the factors are {', '.join(known)}")
