"""Plays cases on the solution, in this process, and records what was asked and replied.

Interpreted kernels take seconds, and a world of ranks a tenth of a second to start: so each case
runs once on the solution. What plays it again, on trivial answers (`triviality`) or to see whether
it repeats itself (`rehearsal`), gets the recorded replies.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from grader.assignment.factors import Row
from grader.assignment.plan import PlannedProblem
from grader.assignment.steps import Call, Expect, New, Ref, Step, Value, tap
from grader.correctness.drive import Worker
from grader.correctness.instances import Instance, name_row
from grader.evidence.faults import Raised
from grader.evidence.observations import CaseMeasurement
from grader.release.record_public import noting
from grader.student.local_ranks import LocalRanks, Locate, Namespace
from grader.student.local_worker import LocalWorker
from grader.student.trace import map_leaves, map_values, step_to_json, to_json

Replies = dict[int, Value | Raised]
Watch = Callable[[Instance, Step], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedReply:
    """One request (which rank was asked what, without arguments), with replies by rank.

    A worker alone counts as rank 0.
    """

    asked: tuple[tuple[int, str], ...]
    replies: Replies


class Deviation(Exception):
    """A case made a request that was not recorded."""


class RecordedWorker(LocalWorker):
    """A worker that records what it replies during one case.

    Attributes:
        recording: in the order of the requests.
    """

    recording: tuple[RecordedReply, ...] = ()

    def new(self, ref: Ref, step: New) -> None:
        """Make an object and record that it was made, or what was raised."""
        self._record(step, partial(super().new, ref, step))

    def call(self, step: Call) -> Value:
        """Call a function or method and record its reply, or what it raised."""
        return self._record(step, partial(super().call, step))

    def _record(self, step: New | Call, ask: Callable[[], Value]) -> Value:
        try:
            reply = ask()
        except Raised as raised:
            reply = raised
        recorded = RecordedReply(asked=_asked({0: step}), replies={0: reply})
        self.recording = (*self.recording, recorded)
        return _reply(reply)

    def close(self) -> None:
        """Do nothing: there is no process to end."""


class RecordedRanks(LocalRanks):
    """Ranks that record what they reply during one case.

    Attributes:
        recording: in the order of the requests.
    """

    recording: tuple[RecordedReply, ...] = ()

    def world(self, size: int) -> None:
        """Start a world in place of the current one, and record it."""
        super().world(size)
        self.recording = (*self.recording, _recorded_world(size))

    def ask(self, steps: Mapping[int, New | Call], ref: Ref | None) -> Replies:
        """Ask several ranks at once and record their replies."""
        replies = super().ask(steps, ref)
        self.recording = (*self.recording, RecordedReply(asked=_asked(steps), replies=replies))
        return replies


class PlayedWorker:
    """A worker that replies what was recorded, without running anything.

    If a case passes a spoiled reply on to a later call, that call replies what it replied to the
    solution, and this reply is spoiled in turn. A request that was not recorded raises `Deviation`.

    Attributes:
        deviated: whether the case made such a request.
    """

    wall_ns = 0

    def __init__(self, recording: tuple[RecordedReply, ...]) -> None:
        self._left = list(recording)
        self.deviated = False

    def new(self, ref: Ref, step: New) -> None:
        """Raise what the solution raised when it made this object, if it did."""
        self.call(step)

    def call(self, step: New | Call) -> Value:
        """Return the recorded reply, or raise what the solution raised."""
        return _reply(self._play(_asked({0: step})).replies[0])

    def drop(self, ref: Ref) -> None:
        """Do nothing: there is no object."""

    def overwrite_arguments(self) -> None:
        """Do nothing: the replies were recorded after it had been done."""

    def reclaim_arguments(self) -> None:
        """Do nothing: the replies were recorded after it had been done."""

    def _play(self, asked: tuple[tuple[int, str], ...]) -> RecordedReply:
        if not self._left or self._left[0].asked != asked:
            raise self._deviation(asked)
        return self._left.pop(0)

    def _deviation(self, asked: object) -> Deviation:
        self.deviated = True
        return Deviation(f"not recorded: {asked}")


class PlayedRanks(PlayedWorker):
    """Ranks that reply what was recorded, without any process."""

    size = 0

    def world(self, size: int) -> None:
        """Expect that the recording starts a world of this size."""
        self._play(_recorded_world(size).asked)
        self.size = size

    def ask(self, steps: Mapping[int, New | Call], ref: Ref | None) -> Replies:
        """Return the recorded replies."""
        return dict(self._play(_asked(steps)).replies)

    def call(self, step: New | Call) -> Value:
        """Refuse, as ranks do: a step must say which rank it is for."""
        raise self._deviation(step)


def _reply(recorded: Value | Raised) -> Value:
    if isinstance(recorded, Raised):
        raise recorded
    return recorded


def _recorded_world(size: int) -> RecordedReply:
    return RecordedReply(asked=((size, "World"),), replies={})


def _asked(steps: Mapping[int, New | Call]) -> tuple[tuple[int, str], ...]:
    return tuple((rank, _name(step)) for rank, step in sorted(steps.items()))


def _name(step: New | Call) -> str:
    if isinstance(step, New):
        return f"New({step.name})"
    return f"Call({step.target}, {step.method})"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayedCase:
    """One case as it was played.

    Attributes:
        steps: each in its JSON form (see `student.trace`), with expected values, without replies.
        replies: what the solution replied, for a worker that plays them.
        errors: what the case or its oracle raised, if anything.
        rows: the rows of factors that it played, with what it read of each.
    """

    instance: Instance
    steps: tuple[str, ...]
    replies: tuple[RecordedReply, ...]
    measurement: CaseMeasurement
    errors: tuple[Exception, ...] = ()
    rows: tuple[Row, ...] = ()

    @property
    def name(self) -> str:
        """The case as messages name it: "softmax.rows, hidden case 2"."""
        maker, shown = self.instance.maker, "public" if self.instance.public else "hidden"
        return f"{maker.problem}.{maker.check}, {shown} case {self.instance.index}"


def recorded_worker(
    problem: PlannedProblem, solution: Namespace, harness: Namespace, locate: Locate | None = None
) -> RecordedWorker | RecordedRanks:
    """Return a worker for one case of a problem that records the replies of the solution."""
    if problem.ranks:
        return RecordedRanks(solution, harness, most=problem.ranks, locate=locate)
    return RecordedWorker(solution, harness, locate=locate)


def playing_worker(
    problem: PlannedProblem, replies: tuple[RecordedReply, ...]
) -> PlayedWorker | PlayedRanks:
    """Return a worker that plays the replies of one case of a problem."""
    return PlayedRanks(replies) if problem.ranks else PlayedWorker(replies)


def play_case(
    instance: Instance, worker: Worker, watch: Watch = lambda instance, step: None
) -> PlayedCase:
    """Run a case, and record its steps as they were when they ran; `watch` is told of each."""
    steps: list[str] = []
    errors: list[Exception] = []

    def on_step(step: Step) -> Step:
        if isinstance(step, Expect):
            step = replace(step, want=step.want() if callable(step.want) else step.want)
        steps.append(json.dumps(_facts(step)))
        watch(instance, step)
        return step

    rows: list[Row] = []
    measurement = instance.run(worker, noting(tap(instance.steps(rows), on_step), errors))
    return PlayedCase(
        instance=instance,
        steps=tuple(steps),
        replies=getattr(worker, "recording", ()),
        measurement=name_row(measurement, rows),
        errors=tuple(errors),
        rows=tuple(rows),
    )


def _facts(step: Step) -> dict[str, Any]:
    """Return the JSON form of a step; what a case compares is known by its replies."""
    if isinstance(step, Expect):
        step = replace(step, got=None, want=map_leaves(step.want, _recordable))
    return step_to_json(map_values(step, _recordable))  # type: ignore[no-any-return]


def _recordable(leaf: Value) -> Value:
    """Return a value that has a JSON form: for any other object, the name of its class."""
    try:
        to_json(leaf)
    except TypeError:
        return f"a {type(leaf).__name__}"
    return leaf
