"""Cases that are sequences of operations, so that a failing one can be made shorter.

An author writes a function that draws a `Sequence` and one that plays it against a model on the
judge's side; `sequence_case` makes a case of both. `shrink` searches for a shorter sequence that
fails, too; `correctness.instances` plays the candidates.

A sequence holds names and small numbers only, so students may read it without learning the seed.
The model decides what a number means: it picks one of the objects that exist at that moment, and an
operation whose object is gone does nothing.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from types import CodeType
from typing import TypeVar

from grader.assignment.declare import CaseMaker
from grader.assignment.draw import Draw
from grader.assignment.steps import CaseSteps, Step, Value, tap


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation on the object.

    Attributes:
        name: what to do; the function that plays it knows the names.
        numbers: how much, and to which object, each at least 0; lower means simpler.
    """

    name: str
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence:
    """Operations on one fresh object.

    Attributes:
        settings: sizes of the object, each at least 0; lower means simpler.
        operations: in order.
    """

    settings: tuple[int, ...]
    operations: tuple[Operation, ...]


PlaySteps = Generator[Step | str, Value, None]
"""Steps of a case; before the steps of each operation, its label: `allocate(2)`."""

DrawFunction = Callable[[Draw], Sequence]
PlayFunction = Callable[[Sequence], PlaySteps]
T = TypeVar("T")
Fails = Callable[[Sequence], bool]
"""Plays a sequence on a fresh object, and returns whether the submission fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceMaker(CaseMaker):
    """A case that draws a sequence and plays it.

    Attributes:
        draw_sequence: draws a sequence; its docstring is the text that students read.
        play: plays any sequence, shorter ones than were drawn as well.
    """

    draw_sequence: DrawFunction
    play: PlayFunction

    @property
    def code(self) -> CodeType:
        """The function that the author wrote: its file and line."""
        return self.draw_sequence.__code__


def sequence_case(
    problem: str, check: str, *, play: PlayFunction, public: int = 1, hidden: int = 6
) -> Callable[[DrawFunction], SequenceMaker]:
    """Mark a function that draws sequences as the case of `problem`'s `check`.

    Args:
        problem: name of the problem.
        check: name of the check.
        play: plays a sequence; it must accept every sequence that results from a drawn one by
            leaving out operations and lowering numbers.
        public: instances drawn from the public seed.
        hidden: instances drawn from the run's secret seed.
    """

    def mark(function: DrawFunction) -> SequenceMaker:
        def make(draw: Draw) -> CaseSteps:
            return without_labels(play(function(draw)), [])

        make.__doc__ = function.__doc__
        return SequenceMaker(
            problem=problem,
            check=check,
            public=public,
            hidden=hidden,
            make=make,
            draw_sequence=function,
            play=play,
        )

    return mark


def without_labels(steps: PlaySteps, labels: list[str]) -> CaseSteps:
    """Pass the steps on without the labels between them, which are added to `labels`."""

    def on_step(step: Step | str) -> Step | None:
        if not isinstance(step, str):
            return step
        labels.append(step)
        return None

    return tap(steps, on_step)


@dataclass(slots=True)
class _Search:
    """The simplest failing sequence so far, and how many more may be tried."""

    best: Sequence
    fails: Fails
    tries_left: int
    tried: set[Sequence] = field(default_factory=set)

    def accept(self, candidate: Sequence) -> bool:
        """Try a candidate; if it fails, too, it becomes the best, and the result is True."""
        if candidate in self.tried or self.tries_left < 1:
            return False
        self.tried.add(candidate)
        self.tries_left -= 1
        if not self.fails(candidate):
            return False
        self.best = candidate
        return True


def shrink(sequence: Sequence, fails: Fails, *, tries: int) -> Sequence:
    """Return a failing sequence from which nothing more can be taken away.

    Args:
        sequence: one that fails.
        fails: tries a candidate; called at most once for each.
        tries: the most candidates to try; after that, the best so far is returned.
    """
    search = _Search(best=sequence, fails=fails, tries_left=tries, tried={sequence})
    before = None
    while before != search.best and search.tries_left > 0:
        before = search.best
        _delete(search)
        _lower(search)
    return search.best


def _delete(search: _Search) -> None:
    """Leave out half of the operations, then quarters, down to single ones, from the end on."""
    size = max(1, len(search.best.operations) // 2)
    while size:
        start = len(search.best.operations) - size
        while start >= 0:
            operations = search.best.operations
            shorter = (*operations[:start], *operations[start + size :])
            search.accept(replace(search.best, operations=shorter))
            start -= size
        size //= 2


def _lower(search: _Search) -> None:
    """Lower every number on its own: to 0, else to half, else by 1."""
    for position, number in enumerate(search.best.settings):
        for lower in _below(number):
            settings = _with(search.best.settings, position, lower)
            if search.accept(replace(search.best, settings=settings)):
                break
    for index, operation in enumerate(search.best.operations):
        for position, number in enumerate(operation.numbers):
            for lower in _below(number):
                one = search.best.operations[index]
                one = replace(one, numbers=_with(one.numbers, position, lower))
                operations = _with(search.best.operations, index, one)
                if search.accept(replace(search.best, operations=operations)):
                    break


def _below(number: int) -> list[int]:
    return sorted({n for n in (0, number // 2, number - 1) if 0 <= n < number})


def _with(members: tuple[T, ...], position: int, member: T) -> tuple[T, ...]:
    return (*members[:position], member, *members[position + 1 :])
