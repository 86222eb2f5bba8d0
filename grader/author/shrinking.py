"""Makes a failing sequence of operations shorter: delete chunks, then lower numbers.

Takes: a sequence that fails, and a function that says whether another one does. Gives: the shortest
failing one that was found. Does not cover: how a sequence is tried (see `measure.sequences`). Pure,
and the same for the same answers: nothing here is random or reads a clock.

Source of the idea: delta debugging, Zeller and Hildebrandt, "Simplifying and isolating
failure-inducing input", IEEE TSE 28(2), 2002; the order of attempts is ours.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from grader.author.sequences import Operation, Sequence

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
