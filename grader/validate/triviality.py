"""Checks that trivial submissions (all zeros, a mean, a copied input, …) fail every problem.

A trivial submission is the reference solution with its replies spoiled on the way out: it plays
what `rehearsal` has recorded.

Wrong ideas are not covered here: they are the known-wrong submissions in `wrong/`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import torch

from grader.assignment.loaded import LoadedAssignment
from grader.assignment.plan import PlannedProblem
from grader.assignment.steps import Call, Each, New, On, Step, Value, tap
from grader.correctness.drive import Worker
from grader.correctness.instances import Instance
from grader.evidence.observations import CaseMeasurement
from grader.judge.judgement import Verdict
from grader.student.local_ranks import Namespace, local_worker
from grader.validate.recording import PlayedCase, playing_worker
from grader.validate.seed_vetting import judge_cases


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


def lint(
    loaded: LoadedAssignment,
    solution: Namespace,
    harness: Namespace,
    played: Mapping[str, Sequence[PlayedCase]],
    *,
    kinds: Iterable[Trivial] = tuple(Trivial),
) -> list[TrivialResult]:
    """Run every problem on trivial submissions of each kind.

    The solution and the harness (empty if there is none) are given as their namespaces; `played`
    has the cases of each problem as the solution played them.
    """
    return [
        _try(loaded, problem, one, solution=solution, harness=harness, played=played[problem.name])
        for problem in loaded.plan.problems
        for one in kinds
    ]


def _try(
    loaded: LoadedAssignment,
    problem: PlannedProblem,
    trivial: Trivial,
    *,
    solution: Namespace,
    harness: Namespace,
    played: Sequence[PlayedCase],
) -> TrivialResult:
    """Run every case of a problem on one trivial submission."""
    spoiler = _Spoiler(trivial)
    cases: list[CaseMeasurement] = []
    for one in played:
        worker = playing_worker(problem, one.replies)
        case = spoiler.run(one.instance, worker)
        if worker.deviated:
            case = spoiler.run(one.instance, local_worker(problem.ranks, solution, harness))
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
