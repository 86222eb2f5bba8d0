"""Ranks whose replies were recorded: a case runs once and is then played, with no process at all.

Takes: the steps of a case. Gives: `RecordedRanks`, which runs them, and `PlayedRanks`, which
answers the same steps again. Does not cover: what is done to replies (see `validate.triviality`).

Starting a world takes a tenth of a second, and what the solution replies in it is the same for
every trivial submission. What a case passes on of a spoiled reply is not played: ranks answer what
they answered the solution, and that is spoiled in its turn.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from grader.assignment.steps import Call, New, Ref, Value
from grader.evidence.faults import Raised
from grader.student.local_ranks import LocalRanks

Replies = dict[int, Value | Raised]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedReply:
    """What was asked of which rank, arguments left out, and what came back."""

    asked: tuple[tuple[int, str], ...]
    replies: Replies


class Deviation(Exception):
    """A case asks something that was not recorded."""


class RecordedRanks(LocalRanks):
    """Runs the steps of one case and keeps what the ranks replied.

    Attributes:
        tape: in the order of the requests.
    """

    tape: tuple[RecordedReply, ...] = ()

    def world(self, size: int) -> None:
        """End the world that is there and start another, and note it."""
        super().world(size)
        self.tape = (*self.tape, _recorded_world(size))

    def ask(self, steps: Mapping[int, New | Call], ref: Ref | None) -> Replies:
        """Ask several ranks at once and keep their replies."""
        replies = super().ask(steps, ref)
        self.tape = (*self.tape, RecordedReply(asked=_asked(steps), replies=replies))
        return replies


class PlayedRanks:
    """Answers the steps of a recorded case.

    Attributes:
        deviated: whether the case has asked for something else.
    """

    wall_ns = 0

    def __init__(self, tape: tuple[RecordedReply, ...]) -> None:
        self._left = list(tape)
        self.size = 0
        self.deviated = False

    def world(self, size: int) -> None:
        """Expect that a world of this size was started."""
        self._play(_recorded_world(size).asked)
        self.size = size

    def ask(self, steps: Mapping[int, New | Call], ref: Ref | None) -> Replies:
        """Return what the ranks replied.

        Raises:
            Deviation: if it was not this that they were asked.
        """
        return dict(self._play(_asked(steps)).replies)

    def new(self, ref: Ref, step: New) -> None:
        """Refuse, as ranks do: which one is meant must be said."""
        raise self._deviation(step)

    def call(self, step: Call) -> Value:
        """Refuse, as ranks do: which one is meant must be said."""
        raise self._deviation(step)

    def drop(self, ref: Ref) -> None:
        """Do nothing: nothing is held."""

    def overwrite_arguments(self) -> None:
        """Do nothing: replies were taken after it had been done."""

    def reclaim_arguments(self) -> None:
        """Do nothing: replies were taken after it had been done."""

    def _play(self, asked: tuple[tuple[int, str], ...]) -> RecordedReply:
        if not self._left or self._left[0].asked != asked:
            raise self._deviation(asked)
        return self._left.pop(0)

    def _deviation(self, asked: object) -> Deviation:
        self.deviated = True
        return Deviation(f"not recorded: {asked}")


def _recorded_world(size: int) -> RecordedReply:
    return RecordedReply(asked=((size, "World"),), replies={})


def _asked(steps: Mapping[int, New | Call]) -> tuple[tuple[int, str], ...]:
    return tuple((rank, _name(step)) for rank, step in sorted(steps.items()))


def _name(step: New | Call) -> str:
    if isinstance(step, New):
        return f"New({step.name})"
    return f"Call({step.target}, {step.method})"
