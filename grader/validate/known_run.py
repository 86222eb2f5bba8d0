"""One specimen through its checks and its targets.

Takes: a specimen, a course, walls. Gives: `KnownRun`, `Measured`. Does not cover: which runs
when (see `validate.validate`).
"""

import time
from dataclasses import dataclass, replace

from grader.assignment.loaded import LoadedAssignment
from grader.assignment.plan import Plan, PlannedProblem
from grader.correctness.run import measure
from grader.cuda_cpp.builder import Builder
from grader.evidence.measurement import Measurement
from grader.judge.judge import judge, judge_checks, sound_problems
from grader.judge.judgement import Cause, Judgement, Verdict
from grader.performance.measure.targets import measure_targets
from grader.sandbox.pool import SandboxPool
from grader.validate.known_submission import Kind, KnownSubmission
from grader.worker.machine import TimedMachine

ATTEMPTS = 3
"""How often targets are measured that a noisy machine leaves open, as who grades a class would."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One specimen with what was seen of it; of a wrong one, in the problems that it affects."""

    known: KnownSubmission
    measurement: Measurement
    lacks: str = ""

    @property
    def words(self) -> str:
        """Which specimen it is, and what kept it from being compiled."""
        return f"{self.known.kind.value}/{self.known.name}: no {self.lacks}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationTools:
    """What all runs share."""

    loaded: LoadedAssignment
    sandboxes: SandboxPool
    machine: TimedMachine
    builder: Builder


class KnownRun:
    """One specimen on its way: its checks, what is counted of it, and then what is timed.

    Of a wrong one, only problems that it affects and targets that it misses.
    """

    def __init__(self, known: KnownSubmission, place: ValidationTools) -> None:
        self.known = known
        self.seconds = 0.0
        self._place = place
        plan = without_targets(place.loaded.plan, known)
        problems = tuple(problem for problem in plan.problems if problem.name in known.affects)
        self._plan = replace(plan, problems=problems)

    @property
    def has_targets(self) -> bool:
        """Whether targets may be measured: a starter passes no check before them."""
        targets = (target for problem in self._plan.problems for target in problem.targets)
        return self.known.kind is not Kind.STARTER and any(target.tiers for target in targets)

    @property
    def is_timed(self) -> bool:
        """Whether something of it is left to be timed; known once it is counted."""
        return any(problem.targets for problem in self._with_targets(counted=False))

    @property
    def measured(self) -> Measured:
        """What was seen of it until now."""
        return Measured(known=self.known, measurement=self._measurement, lacks=self._built.lacks)

    def count(self) -> "KnownRun":
        """Run the checks and measure what is counted; others may run beside it."""
        begin_s = time.monotonic()
        place = self._place
        self._built = place.builder.build(self.known.submission())
        self._measurement = measure(
            self._built.submission,
            replace(place.loaded, plan=self._plan),
            sandboxes=place.sandboxes,
            machine=place.machine,
            faults=self._built.faults,
        )
        self._sound = sound_problems(judge_checks(self._plan, self._measurement))
        self._measure_targets(counted=True)
        self.seconds += time.monotonic() - begin_s
        return self

    def time(self) -> "KnownRun":
        """Measure what is timed; nothing else may run beside it."""
        begin_s = time.monotonic()
        self._measure_targets(counted=False)
        self.seconds += time.monotonic() - begin_s
        return self

    def _with_targets(self, *, counted: bool) -> tuple[PlannedProblem, ...]:
        """Return the problems that passed their checks, with one kind of their targets."""
        return tuple(
            replace(
                problem,
                targets=tuple(
                    target
                    for target in problem.targets
                    if target.quantity.is_counted is counted and target.tiers
                ),
            )
            for problem in self._plan.problems
            if problem.name in self._sound
        )

    def _measure_targets(self, *, counted: bool) -> None:
        """Measure one kind of targets; again if a noisy machine leaves some."""
        plan = replace(self._plan, problems=self._with_targets(counted=counted))
        if not any(problem.targets for problem in plan.problems):
            return
        before = self._measurement
        for _ in range(ATTEMPTS):
            targets = measure_targets(
                self._built.submission,
                replace(self._place.loaded, plan=plan),
                self._sound,
                sandboxes=self._place.sandboxes,
                machine=self._place.machine,
            )
            self._measurement = replace(before, targets=(*before.targets, *targets))
            metered = all(target.metered for target in targets)
            if not (metered and _is_open(judge(plan, self._measurement))):
                break


def _is_open(judgement: Judgement) -> bool:
    """Return whether we could not judge a check: the same run again may."""
    ours = (c for c in judgement.checks if c.verdict is Verdict.UNGRADED)
    return any(check.cause is Cause.INFRASTRUCTURE for check in ours)


def without_targets(plan: Plan, known: KnownSubmission) -> Plan:
    """Leave out the targets of problems that a wrong specimen affects and misses none of."""
    if known.kind is not Kind.WRONG:
        return plan
    wanted = known.fails | known.needs_review
    problems = tuple(
        problem
        if problem.name not in known.affects
        or any(f"{problem.name}.{target.name}" in wanted for target in problem.targets)
        else replace(problem, targets=())
        for problem in plan.problems
    )
    return replace(plan, problems=problems)
