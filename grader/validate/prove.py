"""Grades every specimen of an assignment and joins what follows from it.

Takes: a course and walls. Gives: a `Proof`. Does not cover: printing it (see `commands.validate`).

A wrong submission is the solution with something appended: problems that this cannot change are not
run again, what the solution did there holds for both.
"""

import importlib
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path

from grader.author.declare import load_folder
from grader.author.interpreted import load_solution
from grader.judge.judge import judge, sound_problems
from grader.judge.judgement import Cause, Judgement, Verdict
from grader.measure.builder import Builder
from grader.measure.machine import TimedMachine
from grader.measure.measurement import Measurement
from grader.measure.run import measure
from grader.measure.samples import TargetMeasurement
from grader.measure.targets import measure_targets
from grader.measure.totals import SPREADS, too_short
from grader.plan.course import Course
from grader.plan.plan import Plan
from grader.plan.target import Quantity
from grader.sandbox.pool import WallPool
from grader.validate.matrix import Validation, build_matrix
from grader.validate.signature import compare_launchers, compare_signatures
from grader.validate.specimen import Kind, Specimen, load_specimens
from grader.validate.triviality import TrivialResult, lint

ATTEMPTS = 3
"""How often targets are measured that a noisy machine leaves open, as who grades a class would."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """All that is known of one assignment.

    Attributes:
        validation: the specimens, the kill matrix and the complaints.
        trivial: what became of trivial submissions.
        unproven: specimens that this machine cannot compile, each with what it lacks.
    """

    validation: Validation
    trivial: tuple[TrivialResult, ...]
    unproven: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Graded:
    """One specimen with what became of it."""

    specimen: Specimen
    judgement: Judgement
    targets: tuple[TargetMeasurement, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    """One specimen with what was seen of it; of a wrong one, in the problems that it affects."""

    specimen: Specimen
    measurement: Measurement
    lacks: str = ""

    @property
    def words(self) -> str:
        """Which specimen it is, and what kept it from being compiled."""
        return f"{self.specimen.kind.value}/{self.specimen.name}: no {self.lacks}"


def prove(
    course: Course,
    walls: WallPool,
    *,
    jobs: int,
    on_specimen: Callable[[Specimen, float], None],
    machine: TimedMachine,
    builder: Builder,
) -> Proof:
    """Run every specimen behind a wall, and every trivial submission without one.

    `on_specimen` is told how many seconds each took.

    Raises:
        AuthorError: if a specimen cannot be read.
    """
    specimens = load_specimens(course)
    runs = [_Run(specimen, course, walls, machine, builder) for specimen in specimens]
    measured = _run_all(runs, jobs=jobs, on_specimen=on_specimen)
    (solution,) = [one.measurement for one in measured if one.specimen.kind is Kind.SOLUTION]
    graded = [_grade(one, solution, course.plan) for one in measured if not one.lacks]
    trivial = _lint(course)
    solutions = [one for one in graded if one.specimen.kind is Kind.SOLUTION]
    complaints = _complain_of_trivial(trivial)
    complaints += [c for one in solutions for c in _too_short(course, one.targets)]
    complaints += _complain_of_signatures(course)
    return Proof(
        validation=build_matrix(
            course.assignment.slug, [(one.specimen, one.judgement) for one in graded], complaints
        ),
        trivial=tuple(trivial),
        unproven=tuple(one.words for one in measured if one.lacks),
    )


class _Run:
    """One specimen on its way: first its checks, then its targets.

    Of a wrong one, only problems that it affects and targets that it misses.
    """

    def __init__(
        self,
        specimen: Specimen,
        course: Course,
        walls: WallPool,
        machine: TimedMachine,
        builder: Builder,
    ) -> None:
        self.specimen = specimen
        self.seconds = 0.0
        plan = _without_targets(course.plan, specimen)
        problems = tuple(problem for problem in plan.problems if problem.name in specimen.affects)
        self._course = replace(course, plan=replace(plan, problems=problems))
        self._walls, self._machine, self._builder = walls, machine, builder

    @property
    def is_timed(self) -> bool:
        """Whether targets may be measured: a starter passes no check before them."""
        targets = (t for problem in self._course.plan.problems for t in problem.targets)
        return self.specimen.kind is not Kind.STARTER and any(target.tiers for target in targets)

    def check(self) -> "_Run":
        """Run the checks."""
        begin_s = time.monotonic()
        self._built = self._builder.build(self.specimen.submission())
        self._measurement = measure(
            self._built.submission,
            self._course,
            walls=self._walls,
            machine=self._machine,
            faults=self._built.faults,
        )
        self.seconds += time.monotonic() - begin_s
        return self

    def finish(self) -> _Measured:
        """Measure the targets of what passed its checks; again if a noisy machine leaves some."""
        begin_s = time.monotonic()
        sound = sound_problems(judge(self._course.plan, self._measurement))
        for _ in range(ATTEMPTS):
            targets = measure_targets(
                self._built.submission,
                self._course,
                sound,
                walls=self._walls,
                machine=self._machine,
            )
            whole = replace(self._measurement, targets=targets)
            metered = bool(targets) and all(target.metered for target in targets)
            if not (metered and _is_open(judge(self._course.plan, whole))):
                break
        self.seconds += time.monotonic() - begin_s
        return _Measured(specimen=self.specimen, measurement=whole, lacks=self._built.lacks)


def _run_all(
    runs: Sequence[_Run], *, jobs: int, on_specimen: Callable[[Specimen, float], None]
) -> list[_Measured]:
    """Run all checks on all but one of the jobs, and on that one the targets, in turns.

    Two whose targets wait for the lease on the machine would keep the rest from running.
    """
    timed = [run for run in runs if run.is_timed]
    others = [run for run in runs if not run.is_timed]
    with ThreadPoolExecutor(max(jobs - 1, 1), thread_name_prefix="validate") as workers:
        checked = [workers.submit(run.check) for run in (*timed, *others)]
        if jobs == 1:
            wait(checked)
        finished: dict[Path, _Measured] = {}
        for run in (future.result() for future in checked):
            finished[run.specimen.path] = run.finish()
            on_specimen(run.specimen, run.seconds)
    return [finished[run.specimen.path] for run in runs]


def _is_open(judgement: Judgement) -> bool:
    """Return whether we could not judge a check: the same run again may."""
    ours = (c for c in judgement.checks if c.verdict is Verdict.UNGRADED)
    return any(check.cause is Cause.INFRASTRUCTURE for check in ours)


def _grade(measured: _Measured, solution: Measurement, plan: Plan) -> Graded:
    """Judge a specimen; where it does what the solution does, by what the solution did."""
    specimen, own = measured.specimen, measured.measurement
    joined = replace(
        own,
        problems=(
            *own.problems,
            *(p for p in solution.problems if p.problem not in specimen.affects),
        ),
        targets=(
            *own.targets,
            *(t for t in solution.targets if t.problem not in specimen.affects),
        ),
    )
    judgement = judge(_without_targets(plan, specimen), joined)
    return Graded(specimen=specimen, judgement=judgement, targets=own.targets)


def _too_short(course: Course, targets: tuple[TargetMeasurement, ...]) -> list[str]:
    """Return a complaint for every target whose reference runs say nothing about time."""
    planned = {(p.name, t.name): t for p in course.plan.problems for t in p.targets}
    return [
        f"{one.problem}.{one.target}: the reference takes less than {SPREADS} spreads of as many "
        "empty calls at the smallest size; choose larger sizes"
        for one in targets
        if planned[one.problem, one.target].quantity in (Quantity.TIME, Quantity.GROWTH)
        and too_short(planned[one.problem, one.target], one)
    ]


def _without_targets(plan: Plan, specimen: Specimen) -> Plan:
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


def _complain_of_signatures(course: Course) -> list[str]:
    starter = course.folder / "starter.py"
    exports = tuple(name for problem in course.plan.problems for name in problem.exports)
    return [
        *compare_signatures(starter, course.reference / "solution.py", exports),
        *compare_launchers(starter, course.assignment.launchers),
    ]


def _complain_of_trivial(trivial: list[TrivialResult]) -> list[str]:
    complaints = [
        f"{result.problem}: a submission that answers with {result.trivial.value} passes every "
        "check; the problem cannot be graded"
        for result in trivial
        if result.applied and not result.caught
    ]
    return complaints + [
        f"{result.problem}.{check}: its case fails on a reply of another form "
        f"({result.trivial.value}); compare a reply with Expect before taking it apart"
        for result in trivial
        for check in result.confused
    ]


def _lint(course: Course) -> list[TrivialResult]:
    for module in course.plan.limits.preload:  # or every fork would import it
        importlib.import_module(module)
    solution = vars(load_solution(course.reference))
    has_harness = (course.folder / "harness.py").is_file()
    harness = vars(load_folder(course.folder, "harness")) if has_harness else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries; boxes keep them to themselves as well
        return lint(course, solution, harness)
