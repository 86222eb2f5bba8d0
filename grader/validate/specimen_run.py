"""One specimen through its checks and its targets.

Takes: a specimen, a course, walls. Gives: `SpecimenRun`, `Measured`. Does not cover: which runs
when (see `validate.prove`).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from grader.judge.judge import judge, sound_problems
from grader.judge.judgement import Cause, Judgement, Verdict
from grader.measure.builder import Builder
from grader.measure.machine import TimedMachine
from grader.measure.measurement import Measurement
from grader.measure.run import measure
from grader.measure.samples import TargetMeasurement
from grader.measure.targets import measure_targets
from grader.plan.course import Course
from grader.plan.plan import Plan, PlannedTarget
from grader.plan.target import Quantity
from grader.sandbox.pool import WallPool
from grader.validate.quiet import Quiet
from grader.validate.specimen import Kind, Specimen

ATTEMPTS = 3
"""How often targets are measured that a noisy machine leaves open, as who grades a class would."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One specimen with what was seen of it; of a wrong one, in the problems that it affects."""

    specimen: Specimen
    measurement: Measurement
    lacks: str = ""

    @property
    def words(self) -> str:
        """Which specimen it is, and what kept it from being compiled."""
        return f"{self.specimen.kind.value}/{self.specimen.name}: no {self.lacks}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """What all runs share."""

    course: Course
    walls: WallPool
    machine: TimedMachine
    builder: Builder
    quiet: Quiet


class SpecimenRun:
    """One specimen on its way: first its checks, then its targets.

    Of a wrong one, only problems that it affects and targets that it misses.
    """

    def __init__(self, specimen: Specimen, place: Workplace) -> None:
        self.specimen = specimen
        self.seconds = 0.0
        self._place = place
        plan = without_targets(place.course.plan, specimen)
        problems = tuple(problem for problem in plan.problems if problem.name in specimen.affects)
        self._course = replace(place.course, plan=replace(plan, problems=problems))

    @property
    def is_timed(self) -> bool:
        """Whether targets may be measured: a starter passes no check before them."""
        targets = (t for problem in self._course.plan.problems for t in problem.targets)
        return self.specimen.kind is not Kind.STARTER and any(target.tiers for target in targets)

    def check(self) -> "SpecimenRun":
        """Run the checks."""
        place = self._place
        with place.quiet.checking():
            begin_s = time.monotonic()
            self._built = place.builder.build(self.specimen.submission())
            submission, faults = self._built.submission, self._built.faults
            self._measurement = measure(
                submission, self._course, walls=place.walls, machine=place.machine, faults=faults
            )
            self.seconds += time.monotonic() - begin_s
        return self

    def finish(self) -> Measured:
        """Measure the targets of what passed its checks; again if a noisy machine leaves some."""
        begin_s = time.monotonic()
        sound = sound_problems(judge(self._course.plan, self._measurement))
        problems = [p for p in self._course.plan.problems if p.name in sound]
        has_times = any(_is_time(target) for problem in problems for target in problem.targets)
        for _ in range(ATTEMPTS):
            targets = self._measure_targets(sound, _is_no_time)
            if has_times:
                with self._place.quiet.timing():
                    targets += self._measure_targets(sound, _is_time)
            whole = replace(self._measurement, targets=targets)
            metered = bool(targets) and all(target.metered for target in targets)
            if not (metered and _is_open(judge(self._course.plan, whole))):
                break
        self.seconds += time.monotonic() - begin_s
        return Measured(specimen=self.specimen, measurement=whole, lacks=self._built.lacks)

    def _measure_targets(
        self, sound: frozenset[str], wanted: Callable[[PlannedTarget], bool]
    ) -> tuple[TargetMeasurement, ...]:
        """Measure some of the targets."""
        problems = tuple(
            replace(problem, targets=tuple(filter(wanted, problem.targets)))
            for problem in self._course.plan.problems
        )
        course = replace(self._course, plan=replace(self._course.plan, problems=problems))
        walls, machine = self._place.walls, self._place.machine
        return measure_targets(self._built.submission, course, sound, walls=walls, machine=machine)


def _is_time(target: PlannedTarget) -> bool:
    return target.quantity is Quantity.TIME and bool(target.tiers)


def _is_no_time(target: PlannedTarget) -> bool:
    return not _is_time(target)


def _is_open(judgement: Judgement) -> bool:
    """Return whether we could not judge a check: the same run again may."""
    ours = (c for c in judgement.checks if c.verdict is Verdict.UNGRADED)
    return any(check.cause is Cause.INFRASTRUCTURE for check in ours)


def without_targets(plan: Plan, specimen: Specimen) -> Plan:
    """Leave out the targets of problems that a wrong specimen affects and misses none of."""
    if specimen.kind is not Kind.WRONG:
        return plan
    problems = tuple(
        problem
        if problem.name not in specimen.affects
        or any(f"{problem.name}.{target.name}" in specimen.fails for target in problem.targets)
        else replace(problem, targets=())
        for problem in plan.problems
    )
    return replace(plan, problems=problems)
