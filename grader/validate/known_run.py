"""Runs one known submission: its checks, then its counted targets, then its timed targets.

Which submission runs when is decided in `validate.validate`.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from typing import Any

from grader.assignment.loaded import LoadedAssignment
from grader.assignment.plan import Plan, PlannedProblem
from grader.correctness.run import measure
from grader.cuda_cpp.builder import Builder
from grader.errors import SandboxError
from grader.evidence.measurement import Measurement
from grader.judge.judge import judge, judge_checks, sound_problems
from grader.judge.judgement import Cause, CheckJudgement, Judgement, Verdict
from grader.judge.targets import TOO_MUCH
from grader.performance.measure.targets import measure_targets
from grader.sandbox.pool import SandboxPool
from grader.validate.known_submission import Kind, KnownSubmission
from grader.worker.machine import TimedMachine
from grader.worker.ranks.ranks import AnySession

ATTEMPTS = 3
"""How often a target is measured if the machine is too noisy for a verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The measurement of one known submission.

    Attributes:
        known: the known submission.
        measurement: of a wrong one, only the problems that it affects.
        cpu_s: processor time that the run took, in the grader and in its sandboxed processes.
        lacks: the compiler that is missing on this machine; empty if none is.
    """

    known: KnownSubmission
    measurement: Measurement
    cpu_s: float
    lacks: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationTools:
    """What all runs share."""

    loaded: LoadedAssignment
    sandboxes: SandboxPool
    machine: TimedMachine
    builder: Builder


@dataclass(frozen=True, slots=True, kw_only=True)
class _MeteredMachine(TimedMachine):
    """A machine that notes the processor time of each sandboxed process it opens.

    Attributes:
        cpu_ns: one entry per worker; 0 without a cgroup. Starting a world of ranks is left out.
    """

    cpu_ns: list[int] = field(default_factory=list)

    @contextmanager
    def open_worker(self, *args: Any, **kwargs: Any) -> Iterator[AnySession]:  # noqa: ANN401 - those of TimedMachine
        """Open a worker as `TimedMachine` does."""
        with TimedMachine.open_worker(self, *args, **kwargs) as session:
            try:
                yield session
            finally:
                with suppress(SandboxError, OSError):  # only a number for the author
                    self.cpu_ns.append(session.usage().cpu_ns if session.metered else 0)


class KnownRun:
    """Runs one known submission in steps, so that timed work can wait until nothing else runs.

    A wrong submission runs only the problems that it affects and the targets that it must miss.

    Attributes:
        known: the known submission.
        seconds: wall-clock time that its steps took.
        cpu_s: processor time that its steps took, in the grader and in its sandboxed processes.
    """

    def __init__(self, known: KnownSubmission, tools: ValidationTools) -> None:
        self.known = known
        self.seconds = 0.0
        self.cpu_s = 0.0
        self._tools = tools
        machine = {f.name: getattr(tools.machine, f.name) for f in fields(tools.machine)}
        self._machine = _MeteredMachine(**machine)
        plan = without_targets(tools.loaded.plan, known)
        problems = tuple(problem for problem in plan.problems if problem.name in known.affects)
        self._plan = replace(plan, problems=problems)

    @property
    def has_targets(self) -> bool:
        """Whether targets may have to be measured; a starter passes no check, so never for it."""
        targets = (target for problem in self._plan.problems for target in problem.targets)
        return self.known.kind is not Kind.STARTER and any(target.tiers for target in targets)

    @property
    def is_timed(self) -> bool:
        """Whether a target is left to be timed; known after `count`."""
        return any(problem.targets for problem in self._with_targets(counted=False))

    @property
    def is_broken_solution(self) -> bool:
        """Whether this is the solution and it fails a check or target that has been run."""
        broken = failures(self._plan, self._measurement)
        return self.known.kind is Kind.SOLUTION and bool(broken)

    @property
    def measured(self) -> Measured:
        """The measurement so far."""
        return Measured(
            known=self.known,
            measurement=self._measurement,
            cpu_s=self.cpu_s,
            lacks=self._built.lacks,
        )

    def count(self) -> "KnownRun":
        """Run the checks and measure counted targets; other submissions may run meanwhile."""
        with self._clocked():
            self._built = self._tools.builder.build(self.known.submission())
            self._measurement = measure(
                self._built.submission,
                replace(self._tools.loaded, plan=self._plan),
                sandboxes=self._tools.sandboxes,
                machine=self._machine,
                faults=self._built.faults,
            )
            self._sound = sound_problems(judge_checks(self._plan, self._measurement))
            self._measure_targets(counted=True)
        return self

    def time(self) -> "KnownRun":
        """Measure timed targets; nothing else may run meanwhile."""
        with self._clocked():
            self._measure_targets(counted=False)
        return self

    @contextmanager
    def _clocked(self) -> Iterator[None]:
        """Add what a step takes to `seconds` and `cpu_s`; a step runs in one thread."""
        begin_s, begin_cpu_s = time.monotonic(), time.thread_time()
        try:
            yield
        finally:
            self.seconds += time.monotonic() - begin_s
            self.cpu_s += time.thread_time() - begin_cpu_s + sum(self._machine.cpu_ns) / 1e9
            self._machine.cpu_ns.clear()

    def _with_targets(self, *, counted: bool) -> tuple[PlannedProblem, ...]:
        """Return the problems that passed their checks, with only counted or only timed targets."""
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
        """Measure counted or timed targets, up to `ATTEMPTS` times if the machine is too noisy."""
        plan = replace(self._plan, problems=self._with_targets(counted=counted))
        if not any(problem.targets for problem in plan.problems):
            return
        before = self._measurement
        for _ in range(ATTEMPTS):
            targets = measure_targets(
                self._built.submission,
                replace(self._tools.loaded, plan=plan),
                self._sound,
                sandboxes=self._tools.sandboxes,
                machine=self._machine,
            )
            self._measurement = replace(before, targets=(*before.targets, *targets))
            metered = all(target.metered for target in targets)
            if not (metered and _is_open(judge(plan, self._measurement))):
                break


def failures(plan: Plan, measurement: Measurement) -> tuple[CheckJudgement, ...]:
    """Return the checks that failed, or else the targets that failed, but not by their cost.

    Cases that failed themselves count, and what the machine failed does not.
    """
    found = tuple(
        check
        for check in judge(plan, measurement).checks
        if check.cause is Cause.AUTHOR
        or (check.verdict is Verdict.FAIL and (check.cases or check.cause not in TOO_MUCH.values()))
    )
    return tuple(check for check in found if check.cases) or found


def _is_open(judgement: Judgement) -> bool:
    """Return whether a check could not be judged on this machine; another run may succeed."""
    ours = (c for c in judgement.checks if c.verdict is Verdict.UNGRADED)
    return any(check.cause is Cause.INFRASTRUCTURE for check in ours)


def without_targets(plan: Plan, known: KnownSubmission) -> Plan:
    """Return the plan without the targets that a wrong submission affects but need not miss."""
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
