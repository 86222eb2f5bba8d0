"""Which combinations of a problem's factors its hidden cases have shown, and which none will show.

A combination counts as shown where a case has played a row with these levels and read all of these
factors. By `factors`, this is the same for every seed.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from grader.assignment.covering import Combination
from grader.assignment.declare import RowMaker
from grader.assignment.draw import Draw
from grader.assignment.factors import Factors, Row, forbidden_by, text_of, universe_of
from grader.assignment.loaded import LoadedAssignment
from grader.validate.recording import PlayedCase

MOST_NAMED = 4
"""Combinations that a complaint names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Combinations of some number of factors.

    Attributes:
        strength: how many factors: 1, 2 for pairs, 3 for triples.
        possible: all combinations of levels.
        allowed: those that some allowed row has.
        covered: the allowed ones that hidden cases showed.
    """

    strength: int
    possible: int
    allowed: int
    covered: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExcludedCount:
    """A reason, and what it excludes by itself.

    Attributes:
        combinations: of the strength that no row can have because of it; 0 if it only excludes
            combinations of more factors.
        rules: combinations of the levels that its rule looks at; 0 if it excludes nothing.
    """

    reason: str
    combinations: int
    rules: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What the cases of some factors cover; one problem may have several.

    Attributes:
        checks: names of the checks that take rows.
        levels: texts of the levels, by factor.
        strength: number of factors of which every allowed combination must be shown.
        reason: why it is another strength than usual; empty if it is not.
        rows: rows that hidden cases played.
        counted: by strength, from 2 (or 1, if there is one factor) to `strength`.
        excluded: reasons of combinations that are not allowed.
        missing: allowed combinations that were not shown, as text.
        unread: factors that a check never reads, as `check: factor`.
    """

    problem: str
    checks: tuple[str, ...]
    levels: Mapping[str, tuple[str, ...]]
    strength: int
    reason: str
    rows: int
    counted: tuple[Counted, ...]
    excluded: tuple[ExcludedCount, ...]
    missing: tuple[str, ...]
    unread: tuple[str, ...]


def measure_coverage(
    loaded: LoadedAssignment, played: Mapping[str, Sequence[PlayedCase]]
) -> tuple[Coverage, ...]:
    """Return the coverage of all factors of an assignment, in the order of its problems.

    `played` has the cases of each problem as the solution played them.
    """
    return tuple(
        _coverage(factors, makers, played[factors.problem])
        for factors, makers in _makers(loaded).items()
    )


def _makers(loaded: LoadedAssignment) -> dict[Factors, list[RowMaker]]:
    """Return the cases that take rows of the same factors, in the order of the table."""
    found: dict[Factors, list[RowMaker]] = {}
    for problem in loaded.plan.problems:
        for check in problem.checks:
            maker = loaded.cases[problem.name, check.name]
            if isinstance(maker, RowMaker):
                found.setdefault(maker.selection.factors, []).append(maker)
    return found


def _coverage(
    factors: Factors, makers: Sequence[RowMaker], played: Iterable[PlayedCase]
) -> Coverage:
    checks = tuple(maker.check for maker in makers)
    hidden: dict[str, list[Row]] = {check: [] for check in checks}
    for one in played:
        if not one.instance.public and one.instance.maker.check in hidden:
            hidden[one.instance.maker.check] += one.rows
    rows = [row for of_check in hidden.values() for row in of_check]
    strengths = range(min(2, factors.ways), factors.ways + 1)
    universe = universe_of(factors)
    counted, missing = [], []
    for strength in strengths:
        allowed = universe.combinations(strength)
        shown = {one for row in rows for one in _shown_by(factors, row, strength)}
        lacking = [one for one in allowed if one not in shown]
        counted.append(_count(factors, strength, len(allowed), len(lacking)))
        missing = [factors.name_cells(one) for one in lacking]
    return Coverage(
        problem=factors.problem,
        checks=checks,
        levels={name: tuple(map(text_of, levels)) for name, levels in factors.levels.items()},
        strength=factors.ways,
        reason=factors.reason,
        rows=len(rows),
        counted=tuple(counted),
        excluded=tuple(_excluded(factors)),
        missing=tuple(missing),
        unread=tuple(_unread(factors, hidden)),
    )


def _shown_by(factors: Factors, row: Row, strength: int) -> Iterator[Combination]:
    """Yield the combinations of levels that a case played in a row, of the factors that it read."""
    cells = zip(factors.levels, enumerate(row.numbers), strict=True)
    yield from itertools.combinations([cell for name, cell in cells if name in row.read], strength)


def _count(factors: Factors, strength: int, allowed: int, lacking: int) -> Counted:
    sizes = [len(levels) for levels in factors.levels.values()]
    possible = sum(map(math.prod, itertools.combinations(sizes, strength)))
    return Counted(strength=strength, possible=possible, allowed=allowed, covered=allowed - lacking)


def _excluded(factors: Factors) -> Iterator[ExcludedCount]:
    possible = _count(factors, factors.ways, 0, 0).possible
    for one in factors.excluded:
        forbidden = tuple(forbidden_by(factors, one.rule))
        alone = replace(universe_of(factors), forbidden=forbidden)
        left = len(alone.combinations(factors.ways))
        yield ExcludedCount(reason=one.reason, rules=len(forbidden), combinations=possible - left)


def _unread(factors: Factors, hidden: Mapping[str, Sequence[Row]]) -> Iterator[str]:
    for check, rows in hidden.items():
        read = set().union(*(row.read for row in rows))
        yield from (f"{check}: {name}" for name in factors.levels if name not in read)


def complain_of_coverage(loaded: LoadedAssignment, coverage: Sequence[Coverage]) -> Iterator[str]:
    """Yield what must be fixed: a problem without factors, what no case shows or reads."""
    covered = {one.problem for one in coverage}
    for problem in loaded.plan.problems:
        if problem.name not in covered:
            yield (
                f"{problem.name}: it declares no factors, so nobody knows which combinations its "
                "cases show; declare `Factors` in cases.py and give them to a `@case`"
            )
    for one in coverage:
        yield from _complain_of(one)
    for factors, makers in _makers(loaded).items():
        yield from _row_without_check(factors, makers)


def _complain_of(one: Coverage) -> Iterator[str]:
    for unread in one.unread:
        check, _, factor = unread.partition(": ")
        yield f"{one.problem}.{check}: it never reads `{factor}`; read it, or remove the factor"
    if one.missing and not one.unread:
        more = f", and {len(one.missing) - MOST_NAMED} more" * (len(one.missing) > MOST_NAMED)
        yield (
            f"{one.problem}: no hidden case shows {'; '.join(one.missing[:MOST_NAMED])}{more}. "
            "Read every factor in every row, or exclude the combination with its reason"
        )
    for excluded in one.excluded:
        if not excluded.rules:
            yield f'{one.problem}: nothing is excluded by "{excluded.reason}"; remove it'


def _row_without_check(factors: Factors, makers: Sequence[RowMaker]) -> Iterator[str]:
    """Yield a complaint if some row is played by no check, whether or not this seed has it."""
    rules = [maker.selection.where for maker in makers]
    left = universe_of(factors, also=lambda row: any(rule(row) for rule in rules))
    if left.allows(()):
        example = factors.row(left.complete((), Draw("example", (), 0)))
        yield f"{factors.problem}: no check takes the row {example.label}; widen some `where`"
