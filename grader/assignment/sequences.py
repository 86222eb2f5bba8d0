"""Cases that are sequences of operations, written so that a failing one can be made shorter.

Takes: a function that draws a `Sequence` and one that plays it against a model on the judge's side.
Gives: `SequenceMaker`, a case like any other that can also be played with other operations. Does
not cover: choosing shorter sequences (see `assignment.sequences`), playing them
(`correctness.instances`).

A sequence is names and small numbers, nothing else: a student may read it without learning anything
of the seed. Whoever plays it lets the model say what an operation means now: a number picks one of
the things that exist, and an operation that has lost its object by a deletion does nothing.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace

from grader.assignment.declare import CaseMaker
from grader.assignment.draw import Draw
from grader.assignment.steps import CaseSteps, Step, Value, tap


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One thing to do.

    Attributes:
        name: what, in the words of whoever plays it.
        numbers: how much and to which, each at least 0; lower means simpler.
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
"""Steps of a case, and before those of each operation a line that says it: `allocate(2)`."""

DrawFunction = Callable[[Draw], Sequence]
PlayFunction = Callable[[Sequence], PlaySteps]


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceMaker(CaseMaker):
    """A case that draws a sequence and plays it.

    Attributes:
        draw_sequence: what is drawn; its docstring is the text that students read.
        play: how any sequence is played, a shorter one than was drawn as well.
    """

    draw_sequence: DrawFunction
    play: PlayFunction


def sequence_case(
    problem: str, check: str, *, play: PlayFunction, public: int = 1, hidden: int = 6
) -> Callable[[DrawFunction], SequenceMaker]:
    """Mark a function that draws sequences as the case of `problem`'s `check`.

    Args:
        problem: name of the problem.
        check: name of the check.
        play: plays a sequence; it must take every sequence that comes of one that was drawn by
            leaving operations out and lowering numbers.
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


Fails = Callable[[Sequence], bool]


@dataclass(slots=True)
class _Search:
    """The best sequence so far, and how often another one may still be tried."""

    best: Sequence
    fails: Fails
    tries_left: int
    tried: set[Sequence] = field(default_factory=set)

    def accept(self, candidate: Sequence) -> bool:
        """Return whether the candidate fails, too, and has become the best."""
        if candidate in self.tried or self.tries_left < 1:
            return False
        self.tried.add(candidate)
        self.tries_left -= 1
        if not self.fails(candidate):
            return False
        self.best = candidate
        return True


def shrink(sequence: Sequence, fails: Fails, *, tries: int) -> Sequence:
    """Return a sequence that fails and of which nothing more can be taken away.

    Args:
        sequence: one that fails.
        fails: tries a candidate on a fresh object; asked at most once for each.
        tries: how many candidates are tried at most; the best so far is returned then.
    """
    search = _Search(best=sequence, fails=fails, tries_left=tries, tried={sequence})
    before = None
    while before != search.best and search.tries_left > 0:
        before = search.best
        _delete(search)
        _lower(search)
    return search.best


def _delete(search: _Search) -> None:
    """Leave out half of the operations, then quarters, down to single ones; the last come first."""
    size = max(1, len(search.best.operations) // 2)
    while size:
        start = len(search.best.operations) - size
        while start >= 0:
            kept = search.best.operations
            shorter = (*kept[:start], *kept[start + size :])
            search.accept(replace(search.best, operations=shorter))
            start -= size
        size //= 2


def _lower(search: _Search) -> None:
    """Lower every number on its own: to 0, else to half, else by 1."""
    for place in range(len(search.best.settings)):
        for number in _below(search.best.settings[place]):
            settings = _with(search.best.settings, place, number)
            if search.accept(replace(search.best, settings=settings)):
                break
    for index in range(len(search.best.operations)):
        for place in range(len(search.best.operations[index].numbers)):
            _lower_one(search, index, place)


def _lower_one(search: _Search, index: int, place: int) -> None:
    operations = search.best.operations
    one = operations[index]
    for number in _below(one.numbers[place]):
        lower = Operation(name=one.name, numbers=_with(one.numbers, place, number))
        changed = (*operations[:index], lower, *operations[index + 1 :])
        if search.accept(replace(search.best, operations=changed)):
            return


def _below(number: int) -> list[int]:
    return sorted({n for n in (0, number // 2, number - 1) if 0 <= n < number})


def _with(numbers: tuple[int, ...], place: int, number: int) -> tuple[int, ...]:
    return (*numbers[:place], number, *numbers[place + 1 :])
