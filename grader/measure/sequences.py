"""Plays a sequence of operations; when it fails, finds the shortest one that fails as well.

Takes: a `SequenceMaker` and a way to run a case on fresh objects. Gives: one `CaseMeasurement`, of
the shortest failing sequence, which its first failure names. Does not cover: which sequences are
tried (see `author.shrinking`).

Everything is decided on this side: the submission only sees more calls. It can choose which
operations it fails on, and so which ones are named; what is named is names and small numbers of the
judge's, and never a word of the submission.
"""

import time
from collections.abc import Callable
from dataclasses import replace

from grader.author.draw import Draw
from grader.author.sequences import Sequence, SequenceMaker, without_words
from grader.author.shrinking import shrink
from grader.author.steps import CaseSteps
from grader.measure.compare import Mismatch
from grader.measure.measurement import (
    CaseMeasurement,
    ErrorObservation,
    FaultKind,
    Observation,
    ValueObservation,
)

TRIES = 150
"""Candidates: 30 operations need about 100, each takes some tens of milliseconds at most."""
SEARCH_SECONDS = 6.0
"""A second bound, for submissions that are slow; it alone hangs on the machine."""
SHOWN = 24
"""Operations that a report names; a sequence that could not be made shorter loses its middle."""

RunCase = Callable[[CaseSteps], CaseMeasurement]
"""Carries a case out on fresh objects."""

_NOT_SHRUNK = frozenset(
    {FaultKind.MISSING, FaultKind.TIMEOUT, FaultKind.INFRASTRUCTURE, FaultKind.AUTHOR}
)


def drive_sequence(
    maker: SequenceMaker, draw: Draw, run: RunCase, *, alive: Callable[[], bool]
) -> CaseMeasurement:
    """Run one sequence, and if it fails others, until none is shorter or the budget is spent.

    Args:
        maker: the case.
        draw: its stream of inputs.
        run: carries out steps; it is called again for each candidate.
        alive: whether `run` can still be called; a crash ends the search.
    """
    drawn = maker.draw_sequence(draw)
    told: list[str] = []
    found = run(without_words(maker.play(drawn), told))
    if not failed(found):
        return found
    if any(fault.kind in _NOT_SHRUNK for fault in found.faults):
        return found if _ours_or_missing(found) else _named(found, told)
    deadline, manner = time.monotonic() + SEARCH_SECONDS, _manner(found)

    def fails(candidate: Sequence) -> bool:
        nonlocal found, told
        if not alive() or time.monotonic() > deadline:
            return False
        words: list[str] = []
        seen = run(without_words(maker.play(candidate), words))
        if not failed(seen) or _manner(seen) != manner:
            return False
        found, told = seen, words
        return True

    shrink(drawn, fails, tries=TRIES)
    return _named(found, told)


def failed(case: CaseMeasurement) -> bool:
    """Return whether anything in a case is not as expected; sequences have no tolerance."""
    return bool(case.faults) or any(_is_wrong(one) for one in case.observations)


def _is_wrong(observation: Observation) -> bool:
    if isinstance(observation, ErrorObservation):
        return not observation.matches
    return observation.comparison.mismatch is not Mismatch.NONE or observation.comparison.error > 0


def _manner(case: CaseMeasurement) -> str:
    """Return how a case fails first: a shorter sequence must not lead to another fault."""
    wrong = next((one for one in case.observations if _is_wrong(one)), None)
    return type(wrong).__name__ if wrong is not None else case.faults[0].kind.value


def _ours_or_missing(case: CaseMeasurement) -> bool:
    return any(fault.kind in _NOT_SHRUNK - {FaultKind.TIMEOUT} for fault in case.faults)


def _named(case: CaseMeasurement, told: list[str]) -> CaseMeasurement:
    """Return the measurement with the sequence in its first failure."""
    words = told if len(told) <= SHOWN else [*told[: SHOWN // 2], "…", *told[-SHOWN // 2 :]]
    sequence = f"shortest failing sequence found: {'; '.join(words)}"
    for place, one in enumerate(case.observations):
        if _is_wrong(one):
            named = replace(one, label=f"{_expectation(one)} ({sequence})")
            before, after = case.observations[:place], case.observations[place + 1 :]
            return replace(case, observations=(*before, named, *after))
    fault = replace(case.faults[0], message=f"{case.faults[0].message} ({sequence})")
    return replace(case, faults=(fault, *case.faults[1:]))


def _expectation(observation: Observation) -> str:
    """Return the label with what the model expects: the operations shown decide it."""
    if isinstance(observation, ValueObservation):
        seen = observation.comparison
        return f"{observation.label}{seen.where}, {seen.expected} by the model,"
    return observation.label
