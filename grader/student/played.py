"""Plays the public cases of a check, and compares what was replied when all are done.

To compare uses torch. So where a problem denies operators, its cases are played while torch refuses
them, as in grading (`refusing`), and `PlayedCheck.judge` compares when torch computes again.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from grader.assignment.public_cases import CaseName
from grader.assignment.steps import (
    CaseSteps,
    Expect,
    Raises,
    Request,
    Step,
    Value,
    arguments_of,
    tap,
)
from grader.assignment.table import Check, Problem
from grader.correctness.drive import UNUSABLE, Worker, drive, observe_values
from grader.evidence.comparison import dtypes_of
from grader.evidence.observations import CaseMeasurement, Observation
from grader.runner.denial import OperationDenied, denied_here
from grader.student.result import PublicCheck
from grader.student.trace import Recording, TracedProblem, play
from grader.student.verdict import Origin, judge_check, origins_of

Observe = Callable[[str, Step, int], None]
"""Is told the case, the step and its number from 1, before the step runs."""


@contextlib.contextmanager
def refusing(problem: Problem) -> Iterator[bool]:
    """Let torch refuse what the problem denies while the block runs; say whether it refuses.

    A torch that cannot refuse, or refuses this process, computes: grading will tell.
    """
    with contextlib.ExitStack() as refused:
        refuses = bool(problem.denied)
        if refuses:
            try:
                refused.enter_context(denied_here(problem.name, problem.denied))
            except (OSError, OperationDenied):
                refuses = False
        yield refuses


@dataclass(frozen=True, slots=True)
class _Held:
    """A comparison that is still to be made, or errors that were observed already.

    Attributes:
        steps: number of steps up to and including this one.
        dtypes: those of the tensors of the call before.
    """

    step: Expect | None
    steps: int
    dtypes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Trail:
    """How many steps of a case have begun, and what was to be observed, in order."""

    steps: int = 0
    dtypes: tuple[str, ...] = ()
    held: list[_Held] = field(default_factory=list)

    def complete(self, seen: CaseMeasurement) -> tuple[CaseMeasurement, list[Origin]]:
        """Make the comparisons; return all that was observed, and where it comes from."""
        errors = iter(seen.observations)
        observations: list[Observation] = []
        origins: list[Origin] = []
        for one in self.held:
            if one.step is None:
                observations.append(next(errors))
                origins.append(Origin(steps=one.steps))
                continue
            values = observe_values(one.step, one.dtypes)
            observations += values
            origins += origins_of(one.step, one.steps)
            if any(value.comparison.mismatch in UNUSABLE for value in values):  # the case ends here
                seen = replace(seen, faults=(), dtypes=())
                break
        return replace(seen, observations=tuple(observations)), origins


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayedCheck:
    """A check whose public cases have run; their replies are not compared yet."""

    problem: str
    check: Check
    description: str
    cases: Sequence[tuple[CaseMeasurement, _Trail]]

    def judge(self) -> PublicCheck:
        """Compare what was replied with what is expected."""
        seen: list[CaseMeasurement] = []
        origins: list[list[Origin]] = []
        for measured, trail in self.cases:
            complete, of_case = trail.complete(measured)
            seen.append(complete)
            origins.append([*of_case, Origin(steps=trail.steps)])
        return judge_check(
            self.problem, self.check, seen, description=self.description, origins=origins
        )


def play_check(
    problem: Problem,
    check: Check,
    traced: TracedProblem,
    worker: Worker,
    observe: Observe = lambda case, step, steps: None,
    *,
    only: int | None = None,
) -> PlayedCheck:
    """Run the public cases of one check.

    Args:
        problem: the problem that has the check.
        check: the check to run.
        traced: the problem's recorded cases.
        worker: where the submission runs.
        observe: is told each step before it runs.
        only: number of the one case to run; None runs all.
    """
    mine = [one for one in traced.checks if one.name == check.name]
    recordings = [recording for one in mine for recording in one.instances]
    cases: list[tuple[CaseMeasurement, _Trail]] = []
    for index, recording in enumerate(recordings):
        if only not in (None, index):
            continue
        name = CaseName(problem=problem.name, check=check.name, index=index)
        tapped, trail = _traced(recording, partial(observe, str(name)))
        cases.append((drive(tapped, worker, check=check.name, index=index, public=True), trail))
    description = mine[0].description if mine else ""
    return PlayedCheck(problem=problem.name, check=check, description=description, cases=cases)


def _traced(recording: Recording, observe: Callable[[Step, int], None]) -> tuple[CaseSteps, _Trail]:
    """Return the steps of a recording, and a trail that is written while they run."""
    trail = _Trail()

    def on_step(step: Step) -> Step | None:
        trail.steps += 1
        observe(step, trail.steps)
        if isinstance(step, Expect):
            trail.held.append(_Held(step, trail.steps, trail.dtypes))
            return None
        asked = step.step if isinstance(step, Raises) else step
        if isinstance(asked, Request):
            trail.dtypes = dtypes_of(arguments_of(asked))
        return step

    def on_reply(step: Step, reply: Value) -> Value:
        if isinstance(step, Raises):  # over ranks there is one observation each
            count = len(reply) if isinstance(reply, list) else 1
            trail.held += [_Held(None, trail.steps)] * count
        return reply

    return tap(play(recording), on_step, on_reply), trail
