"""The trivial-submission lint: zeros, means, copies and shortcuts must fail every problem.

Takes: a course. Gives: `TrivialResult`s. Does not cover: wrong ideas (see `wrong/`).

Each trivial submission is the solution with its tensor replies spoiled on the way out, in the
author's own process. A kind that never applies to a problem is n/a, with the reason.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import torch

from grader.assignment.loaded import LoadedAssignment
from grader.assignment.plan import PlannedProblem
from grader.assignment.steps import Call, New, Ref, Value
from grader.correctness.instances import Instance, instances
from grader.evidence.faults import Raised
from grader.evidence.observations import CaseMeasurement
from grader.judge.judgement import Verdict
from grader.student.local_ranks import LocalRanks
from grader.student.local_worker import LocalWorker
from grader.validate.played_ranks import PlayedRanks, RecordedRanks, RecordedReply, Replies
from grader.validate.seed_vetting import Namespace, judge_cases


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
    """What became of one trivial submission to one problem.

    Attributes:
        problem: name of the problem.
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
    """Spoils the replies of one problem and counts how often it could."""

    trivial: Trivial
    applied: int = 0
    last: dict[tuple[Any, ...], torch.Tensor] = field(default_factory=dict)

    def spoil(self, reply: Value, arguments: list[torch.Tensor]) -> Value:
        if isinstance(reply, list | tuple) and self.trivial is not Trivial.NOTHING:
            return type(reply)(self.spoil(part, arguments) for part in reply)
        if isinstance(reply, dict) and self.trivial is not Trivial.NOTHING:
            return {key: self.spoil(part, arguments) for key, part in reply.items()}
        if self.trivial is Trivial.NOTHING:
            self.applied += reply is not None
            return None
        spoiled = self._spoil_leaf(reply, arguments)
        if spoiled is None:
            return reply
        if not isinstance(reply, torch.Tensor) or not torch.equal(spoiled, reply):
            self.applied += 1
        return spoiled

    def _spoil_leaf(self, reply: Value, arguments: list[torch.Tensor]) -> Value:
        """Return the spoiled reply, or None where this kind does not apply."""
        if not isinstance(reply, torch.Tensor):
            whole = type(reply) is int and self.trivial is Trivial.OFF_BY_ONE
            return reply + 1 if whole else None
        return _SPOIL[self.trivial](self, reply, arguments)

    def spoil_all(self, steps: Mapping[int, New | Call], replies: Replies) -> Replies:
        """Spoil what each rank replied to a call."""
        for rank, reply in replies.items():
            if not isinstance(reply, Raised) and isinstance(steps[rank], Call):
                given = (*steps[rank].args, *steps[rank].kwargs.values())
                arguments = [a for a in given if isinstance(a, torch.Tensor)]
                replies[rank] = self.spoil(reply, arguments)
        return replies

    def zeros(self, reply: torch.Tensor, _: list[torch.Tensor]) -> torch.Tensor:
        return torch.zeros_like(reply)

    def mean(self, reply: torch.Tensor, _: list[torch.Tensor]) -> torch.Tensor | None:
        if not reply.is_floating_point() or reply.numel() < 2:
            return None
        return torch.full_like(reply, float(reply.double().mean()))

    def copied(self, reply: torch.Tensor, arguments: list[torch.Tensor]) -> torch.Tensor | None:
        same = (a for a in arguments if a.shape == reply.shape and a.dtype == reply.dtype)
        return next(same, None)

    def stale(self, reply: torch.Tensor, _: list[torch.Tensor]) -> torch.Tensor | None:
        key = (tuple(reply.shape), reply.dtype)
        before = self.last.get(key)
        self.last[key] = reply
        return before

    def half(self, reply: torch.Tensor, _: list[torch.Tensor]) -> torch.Tensor | None:
        if reply.dtype not in (torch.float32, torch.float64):
            return None
        return reply.to(torch.float16).to(reply.dtype)

    def off_by_one(self, reply: torch.Tensor, _: list[torch.Tensor]) -> torch.Tensor | None:
        if reply.dim() == 0 or reply.shape[-1] < 2:
            return None
        return torch.roll(reply, 1, dims=-1)


_SPOIL: dict[Trivial, Callable[..., torch.Tensor | None]] = {
    Trivial.ZEROS: _Spoiler.zeros,
    Trivial.MEAN: _Spoiler.mean,
    Trivial.COPIED_INPUT: _Spoiler.copied,
    Trivial.STALE: _Spoiler.stale,
    Trivial.HALF: _Spoiler.half,
    Trivial.OFF_BY_ONE: _Spoiler.off_by_one,
}


class _SpoiledWorker(LocalWorker):
    """A local box whose replies are spoiled on the way out."""

    def __init__(self, submission: Namespace, harness: Namespace, spoiler: _Spoiler) -> None:
        super().__init__(submission, harness)
        self._spoiler = spoiler

    def call(self, step: Call) -> Value:
        arguments = [a for a in (*step.args, *step.kwargs.values()) if isinstance(a, torch.Tensor)]
        return self._spoiler.spoil(super().call(step), arguments)


class _TrivialRanks(LocalRanks):
    """Local ranks whose replies are spoiled on the way out."""

    def __init__(
        self,
        submission: Namespace,
        harness: Namespace,
        spoiler: _Spoiler,
        *,
        most: int,
    ) -> None:
        super().__init__(submission, harness, most=most)
        self._spoiler = spoiler

    def ask(self, steps: Mapping[int, New | Call], ref: Ref | None) -> Replies:
        return self._spoiler.spoil_all(steps, super().ask(steps, ref))


class _PlayedTrivialRanks(PlayedRanks):
    """Recorded ranks whose replies are spoiled on the way out."""

    def __init__(self, tape: tuple[RecordedReply, ...], spoiler: _Spoiler) -> None:
        super().__init__(tape)
        self._spoiler = spoiler

    def ask(self, steps: Mapping[int, New | Call], ref: Ref | None) -> Replies:
        return self._spoiler.spoil_all(steps, super().ask(steps, ref))


def lint(
    loaded: LoadedAssignment,
    solution: Namespace,
    harness: Namespace,
    kinds: Iterable[Trivial] = tuple(Trivial),
) -> list[TrivialResult]:
    """Answer every problem trivially in every way.

    Args:
        loaded: the assignment with its cases.
        solution: namespace of the reference solution.
        harness: namespace of the harness; empty if there is none.
        kinds: the ways.
    """
    found = []
    for problem in loaded.plan.problems:
        tapes = _record(loaded, problem, solution, harness) if problem.ranks else {}
        found += [
            _try(loaded, problem, trivial, solution=solution, harness=harness, tapes=tapes)
            for trivial in kinds
        ]
    return found


_Key = tuple[str, int, bool]
_Tapes = dict[_Key, tuple[RecordedReply, ...]]


def _key(instance: Instance) -> _Key:
    return instance.maker.check, instance.index, instance.public


def _record(
    loaded: LoadedAssignment, problem: PlannedProblem, solution: Namespace, harness: Namespace
) -> _Tapes:
    """Run every case of a problem with ranks on the solution, and return what they replied."""
    tapes: _Tapes = {}
    for instance in instances(loaded.plan, problem, loaded.cases):
        worker = RecordedRanks(solution, harness, most=problem.ranks)
        instance.run(worker)
        worker.close()
        tapes[_key(instance)] = worker.tape
    return tapes


def _try(
    loaded: LoadedAssignment,
    problem: PlannedProblem,
    trivial: Trivial,
    *,
    solution: Namespace,
    harness: Namespace,
    tapes: _Tapes,
) -> TrivialResult:
    spoiler = _Spoiler(trivial)
    cases: list[CaseMeasurement] = []
    for instance in instances(loaded.plan, problem, loaded.cases):
        spoiler.last.clear()
        if not problem.ranks:
            cases.append(instance.run(_SpoiledWorker(solution, harness, spoiler)))
            continue
        played = _PlayedTrivialRanks(tapes[_key(instance)], spoiler)
        case = instance.run(played)
        if played.deviated:
            spoiler.last.clear()
            ranks = _TrivialRanks(solution, harness, spoiler, most=problem.ranks)
            case = instance.run(ranks)
        cases.append(case)
    checks = judge_cases(loaded.plan, problem, cases)
    caught = [c.check for c in checks if c.verdict is Verdict.FAIL]
    confused = [c.check for c in checks if c.verdict is Verdict.UNGRADED]
    applied = spoiler.applied > 0
    return TrivialResult(
        problem=problem.name,
        trivial=trivial,
        caught=bool(caught),
        confused=tuple(confused),
        applied=applied,
        note=", ".join(caught) if applied else NOT_APPLICABLE[trivial],
    )
