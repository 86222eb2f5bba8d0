"""Grades every specimen of an assignment and joins what follows from it.

Takes: a course and walls. Gives: a `Proof`. Does not cover: printing it (see `commands.validate`).

A wrong submission is the solution with something appended: problems that this cannot change are not
run again, what the solution did there holds for both.
"""

import importlib
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

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

    def one(specimen: Specimen) -> _Measured:
        begin_s = time.monotonic()
        measured = _measure(specimen, course, walls=walls, machine=machine, builder=builder)
        on_specimen(specimen, time.monotonic() - begin_s)
        return measured

    measured = _run_all(specimens, one, plan=course.plan, jobs=jobs)
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


def _run_all(
    specimens: tuple[Specimen, ...],
    one: Callable[[Specimen], _Measured],
    *,
    plan: Plan,
    jobs: int,
) -> list[_Measured]:
    """Run specimens at the same time, but those with targets one after the other.

    What is timed has its turns in any case; two that wait for theirs would keep the rest waiting.
    """
    timed = [specimen for specimen in specimens if _is_timed(plan, specimen)]
    others = [specimen for specimen in specimens if not _is_timed(plan, specimen)]
    with ThreadPoolExecutor(jobs, thread_name_prefix="validate") as workers:
        in_turns = workers.submit(lambda: [one(specimen) for specimen in timed])
        measured = [*workers.map(one, others), *in_turns.result()]
    return sorted(measured, key=lambda each: specimens.index(each.specimen))


def _is_timed(plan: Plan, specimen: Specimen) -> bool:
    """Return whether targets of it may be measured: a starter passes no check before them."""
    problems = _without_targets(plan, specimen).problems
    has_targets = any(
        target.tiers
        for problem in problems
        if problem.name in specimen.affects
        for target in problem.targets
    )
    return has_targets and specimen.kind is not Kind.STARTER


def _measure(
    specimen: Specimen,
    course: Course,
    *,
    walls: WallPool,
    machine: TimedMachine,
    builder: Builder,
) -> _Measured:
    """Run a specimen; of a wrong one, only problems that it affects and targets that it misses."""
    plan = _without_targets(course.plan, specimen)
    problems = tuple(problem for problem in plan.problems if problem.name in specimen.affects)
    course = replace(course, plan=replace(plan, problems=problems))
    built = builder.build(specimen.submission())
    submission = built.submission
    measurement = measure(submission, course, walls=walls, machine=machine, faults=built.faults)
    sound = sound_problems(judge(course.plan, measurement))
    for _ in range(ATTEMPTS):
        targets = measure_targets(submission, course, sound, walls=walls, machine=machine)
        whole = replace(measurement, targets=targets)
        metered = bool(targets) and all(target.metered for target in targets)
        if not (metered and _is_open(judge(course.plan, whole))):
            break
    return _Measured(specimen=specimen, measurement=whole, lacks=built.lacks)


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
