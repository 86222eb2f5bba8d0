"""Checks that trivial submissions (all zeros, a mean, a copied input, …) fail every problem.

A trivial submission is the reference solution with its replies spoiled on the way out. It runs in
this process, because the solution is the author's own code. Interpreted kernels take seconds, and a
world of ranks a tenth of a second to start: so each case runs once on the solution, its replies are
recorded, and every trivial submission plays the recording.

Wrong ideas are not covered here: they are the known-wrong submissions in `wrong/`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any

import torch

from grader.assignment.loaded import LoadedAssignment
from grader.assignment.plan import PlannedProblem
from grader.assignment.steps import Call, Each, New, On, Ref, Step, Value, tap
from grader.correctness.drive import Worker
from grader.correctness.instances import Instance, instances
from grader.evidence.faults import Raised
from grader.evidence.observations import CaseMeasurement
from grader.judge.judgement import Verdict
from grader.student.local_ranks import LocalRanks, Namespace, local_worker
from grader.student.local_worker import LocalWorker
from grader.validate.seed_vetting import judge_cases

Replies = dict[int, Value | Raised]


class Trivial(StrEnum):
    """A way to answer without having solved the problem."""

    NOTHING = "nothing"
    ZEROS = "zeros"
    MEAN = "mean"
    COPIED_INPUT = "copied input"
    STALE = "stale output"
    HALF = "half precision"
    OFF_BY_ONE = "off by one"


NOT_APPLICABLE: dict[Trivial, str] = {
    Trivial.NOTHING: "every reply is None",
    Trivial.ZEROS: "no reply is a tensor",
    Trivial.MEAN: "no reply is a floating-point tensor with different entries",
    Trivial.COPIED_INPUT: "no reply has the shape and dtype of one of its arguments",
    Trivial.STALE: "no two replies of a case have the same shape and dtype",
    Trivial.HALF: "no reply is a float32 or float64 tensor that half precision changes",
    Trivial.OFF_BY_ONE: "no reply is a number or a tensor with two entries in a row",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrivialResult:
    """The result of one kind of trivial submission on one problem.

    Attributes:
        trivial: how replies were spoiled.
        caught: whether some check failed.
        confused: checks whose case itself failed on the spoiled reply.
        applied: whether some reply was spoiled at all.
        note: why it does not apply, or which checks caught it.
    """

    problem: str
    trivial: Trivial
    caught: bool
    confused: tuple[str, ...]
    applied: bool
    note: str


@dataclass(slots=True)
class _Spoiler:
    """Spoils the replies of one problem in one way.

    Attributes:
        trivial: the way.
        applied: how often it changed a reply.
        last: the last reply of each shape and dtype in this case, for stale output.
    """

    trivial: Trivial
    applied: int = 0
    last: dict[tuple[Any, ...], torch.Tensor] = field(default_factory=dict)

    def run(self, instance: Instance, worker: Worker) -> CaseMeasurement:
        """Run a case that gets spoiled replies."""
        self.last.clear()
        return instance.run(worker, tap(instance.steps(), lambda step: step, self._spoil_reply))

    def _spoil_reply(self, step: Step, reply: Value) -> Value:
        match step:
            case (Call() as call) | On(step=Call() as call):
                return self._spoil(reply, _tensors(call))
            case Each(steps=(Call(), *_)):
                calls = step.steps * (len(reply) if len(step.steps) == 1 else 1)
                return [
                    self._spoil(one, _tensors(call)) for one, call in zip(reply, calls, strict=True)
                ]
        return reply

    def _spoil(self, reply: Value, arguments: list[torch.Tensor]) -> Value:
        if self.trivial is Trivial.NOTHING:
            self.applied += reply is not None
            return None
        if isinstance(reply, list | tuple):
            return type(reply)(self._spoil(part, arguments) for part in reply)
        if isinstance(reply, dict):
            return {key: self._spoil(part, arguments) for key, part in reply.items()}
        if type(reply) is int and self.trivial is Trivial.OFF_BY_ONE:
            self.applied += 1
            return reply + 1
        if isinstance(reply, torch.Tensor):
            spoiled = self._spoil_tensor(reply, arguments)
            if spoiled is not None:
                self.applied += not torch.equal(spoiled, reply)
                return spoiled
        return reply

    def _spoil_tensor(
        self, reply: torch.Tensor, arguments: list[torch.Tensor]
    ) -> torch.Tensor | None:
        """Return the spoiled reply, or None where this kind does not apply."""
        match self.trivial:
            case Trivial.ZEROS:
                return torch.zeros_like(reply)
            case Trivial.MEAN if reply.is_floating_point() and reply.numel() > 1:
                return torch.full_like(reply, float(reply.double().mean()))
            case Trivial.COPIED_INPUT:
                same = (a for a in arguments if a.shape == reply.shape and a.dtype == reply.dtype)
                return next(same, None)
            case Trivial.STALE:
                key = (tuple(reply.shape), reply.dtype)
                before = self.last.get(key)
                self.last[key] = reply
                return before
            case Trivial.HALF if reply.dtype in (torch.float32, torch.float64):
                return reply.to(torch.float16).to(reply.dtype)
            case Trivial.OFF_BY_ONE if reply.dim() and reply.shape[-1] > 1:
                return torch.roll(reply, 1, dims=-1)
        return None


def _tensors(step: New | Call) -> list[torch.Tensor]:
    given = (*step.args, *step.kwargs.values())
    return [value for value in given if isinstance(value, torch.Tensor)]


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
        self.recording = (
            *self.recording,
            RecordedReply(asked=_asked({0: step}), replies={0: reply}),
        )
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


def lint(
    loaded: LoadedAssignment,
    solution: Namespace,
    harness: Namespace,
    kinds: Iterable[Trivial] = tuple(Trivial),
) -> list[TrivialResult]:
    """Run every problem on trivial submissions of each kind.

    The solution and the harness (empty if there is none) are given as their namespaces.
    """
    found = []
    for problem in loaded.plan.problems:
        recordings = _record(loaded, problem, solution, harness)
        found += [
            _try(loaded, problem, one, solution=solution, harness=harness, recordings=recordings)
            for one in kinds
        ]
    return found


_Key = tuple[str, int, bool]
_Recordings = dict[_Key, tuple[RecordedReply, ...]]


def _key(instance: Instance) -> _Key:
    return instance.maker.check, instance.index, instance.public


def _record(
    loaded: LoadedAssignment, problem: PlannedProblem, solution: Namespace, harness: Namespace
) -> _Recordings:
    """Run every case of a problem on the solution, and record the replies."""
    recordings: _Recordings = {}
    for instance in instances(loaded.plan, problem, loaded.cases):
        worker: RecordedRanks | RecordedWorker = (
            RecordedRanks(solution, harness, most=problem.ranks)
            if problem.ranks
            else RecordedWorker(solution, harness)
        )
        instance.run(worker)
        worker.close()
        recordings[_key(instance)] = worker.recording
    return recordings


def _try(
    loaded: LoadedAssignment,
    problem: PlannedProblem,
    trivial: Trivial,
    *,
    solution: Namespace,
    harness: Namespace,
    recordings: _Recordings,
) -> TrivialResult:
    """Run every case of a problem on one trivial submission."""
    spoiler = _Spoiler(trivial)
    play = PlayedRanks if problem.ranks else PlayedWorker
    cases: list[CaseMeasurement] = []
    for instance in instances(loaded.plan, problem, loaded.cases):
        played = play(recordings.get(_key(instance), ()))
        case = spoiler.run(instance, played)
        if played.deviated:
            case = spoiler.run(instance, local_worker(problem.ranks, solution, harness))
        cases.append(case)
    checks = judge_cases(loaded.plan, problem, cases)
    caught = [c.check for c in checks if c.verdict is Verdict.FAIL]
    applied = spoiler.applied > 0
    return TrivialResult(
        problem=problem.name,
        trivial=trivial,
        caught=bool(caught),
        confused=tuple(c.check for c in checks if c.verdict is Verdict.UNGRADED),
        applied=applied,
        note=", ".join(caught) if applied else NOT_APPLICABLE[trivial],
    )
