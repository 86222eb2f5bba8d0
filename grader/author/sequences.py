"""Cases that are sequences of operations, written so that a failing one can be made shorter.

Takes: a function that draws a `Sequence` and one that plays it against a model on the judge's side.
Gives: `SequenceMaker`, a case like any other that can also be played with other operations. Does
not cover: choosing shorter sequences (see `author.shrinking`), playing them (`measure.sequences`).

A sequence is names and small numbers, nothing else: a student may read it without learning anything
of the seed. Whoever plays it lets the model say what an operation means now: a number picks one of
the things that exist, and an operation that has lost its object by a deletion does nothing.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass

from grader.author.declare import CaseMaker
from grader.author.draw import Draw
from grader.author.steps import CaseSteps, Step, Value


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
            return without_words(play(function(draw)), [])

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


def without_words(steps: PlaySteps, told: list[str]) -> CaseSteps:
    """Pass the steps on and the replies back; add what is said between them to `told`."""
    reply: Value = None
    while True:
        try:
            step = steps.send(reply)
        except StopIteration:
            return
        reply = None
        if isinstance(step, str):
            told.append(step)
        else:
            reply = yield step
