"""Carries a whole plan through a wall: one child per problem, a new one only after a crash.

Takes: a submission, a plan, its cases and a wall. Gives: a `Measurement`. Does not cover: verdicts.
"""

import time
from dataclasses import dataclass, field, replace

from grader.author.sequences import SequenceMaker
from grader.author.steps import CaseSteps
from grader.device.classes import CPU
from grader.errors import DeviceError, SandboxError
from grader.intake.submission import Origin, Submission
from grader.measure.drive import Raised, Stopped, drive, fault_of
from grader.measure.instances import Cases, Instance, instances
from grader.measure.machine import TimedMachine
from grader.measure.measurement import (
    CaseMeasurement,
    Fault,
    FaultKind,
    Measurement,
    ProblemMeasurement,
)
from grader.measure.not_run import HUNG_BEFORE, ended_too_often, has_hung, without_device
from grader.measure.ranks import AnySession
from grader.measure.sequences import drive_sequence, failed
from grader.measure.session import Session
from grader.measure.undenied import first_raised, run_undenied
from grader.plan.course import Course
from grader.plan.plan import PlannedProblem
from grader.runner.order import Denial
from grader.sandbox.pool import WallPool
from grader.sandbox.wall import Wall

MAX_CHILDREN = 3
"""Children per problem: one, and two more after crashes, so that one bad case costs one check."""


@dataclass(slots=True)
class _Run:
    """One problem on its way: what waits, what is done, what was printed."""

    waiting: list[Instance]
    deadline: float
    denial: Denial
    exports: tuple[str, ...]
    ranks: int
    done: list[CaseMeasurement] = field(default_factory=list)
    output: str = ""
    hidden_output: str = ""
    children: int = 0

    def hear(self, text: str) -> None:
        """Keep printed text; after the first hidden case it may repeat hidden inputs."""
        if all(case.public for case in self.done):
            self.output += text
        else:
            self.hidden_output += text


class Measurer:
    """Runs the problems of one submission in one wall."""

    def __init__(
        self, wall: Wall, submission: Submission, course: Course, machine: TimedMachine
    ) -> None:
        self._wall = wall
        self._submission = submission
        self._plan = course.plan
        self._harness = course.harness
        self._machine = machine
        self._load_faults: dict[tuple[str, ...], Fault] = {}  # by what is denied

    def problem(self, problem: PlannedProblem, cases: Cases) -> ProblemMeasurement:
        """Run every case of a problem, public ones first."""
        deadline = time.monotonic() + self._plan.limits.problem_wall_s
        denial = Denial(problem=problem.name, entries=problem.denied)
        run = _Run(
            waiting=list(instances(problem, cases)),
            deadline=deadline,
            denial=denial,
            exports=problem.exports,
            ranks=problem.ranks,
        )
        fault = self._load_faults.get(problem.denied)
        while run.waiting and fault is None and run.children < MAX_CHILDREN:
            run.children += 1
            fault = self._one_child(run)
        if run.waiting:
            reason = fault or ended_too_often(problem, run.done, times=MAX_CHILDREN)
            run.done.extend(instance.unmeasured(reason) for instance in run.waiting)
        return ProblemMeasurement(
            problem=problem.name,
            cases=tuple(run.done),
            output=run.output,
            hidden_output=run.hidden_output,
            children=run.children,
            undenied=self._undenied(problem, cases, run.done) if problem.denied else (),
        )

    def _undenied(
        self, problem: PlannedProblem, cases: Cases, done: list[CaseMeasurement]
    ) -> tuple[CaseMeasurement, ...]:
        """Run what raised under the denial once without it; it can only change a cause."""
        raised = {(case.check, case.index, case.public) for case in first_raised(done)}
        waiting = [
            one
            for one in instances(problem, cases)
            if (one.maker.check, one.index, one.public) in raised
        ]
        if not waiting:
            return ()
        limits = self._plan.limits
        try:
            with self._machine.open_box(
                self._wall, self._submission, limits=limits, ranks=problem.ranks
            ) as session:
                return run_undenied(session, waiting, self._plan, self._harness)
        except (SandboxError, DeviceError):
            return ()  # the cause stays what it was under the denial

    def _one_child(self, run: _Run) -> Fault | None:
        """Run cases in one child until it ends; return a fault that concerns all that wait."""
        try:
            with self._machine.open_box(
                self._wall,
                self._submission,
                limits=self._plan.limits,
                denial=run.denial,
                ranks=run.ranks,
            ) as session:
                try:
                    return self._load_and_run(session, run)
                finally:
                    run.hear(session.take_output())
        except (SandboxError, DeviceError) as error:
            return _our_fault(error)

    def _load_and_run(self, session: AnySession, run: _Run) -> Fault | None:
        try:
            session.load(self._harness)
        except Raised as raised:
            return self._cannot_load(fault_of(raised), run.denial)
        except Stopped as stopped:
            return self._cannot_load(stopped.fault, run.denial)
        without = self._submission.origin is Origin.CUDA and self._plan.device == CPU
        if without and isinstance(session, Session):  # ranks are not taken in C++
            return without_device(session, run.exports)
        while run.waiting and session.alive:
            if time.monotonic() > run.deadline:
                message = f"the problem took longer than {self._plan.limits.problem_wall_s:g} s"
                return Fault(kind=FaultKind.TIMEOUT, message=message)
            instance = run.waiting.pop(0)
            if has_hung(run.done, instance.maker.check):
                run.done.append(instance.unmeasured(HUNG_BEFORE))
                continue
            if not instance.public:
                run.hear(session.take_output())
            # One shortest sequence for each check: the others fail by the same fault most often.
            again = any(c.check == instance.maker.check and failed(c) for c in run.done)
            run.done.append(self._one_case(session, instance, shrinking=not again))
            session.end_case()
            run.hear(session.take_output())
        return None

    def _one_case(
        self, session: AnySession, instance: Instance, *, shrinking: bool
    ) -> CaseMeasurement:
        def run(steps: CaseSteps) -> CaseMeasurement:
            session.end_case()
            return drive(
                steps,
                session,
                check=instance.maker.check,
                index=instance.index,
                public=instance.public,
            )

        if isinstance(instance.maker, SequenceMaker) and shrinking:
            draw = instance.draw(self._plan)
            return drive_sequence(instance.maker, draw, run, alive=lambda: session.alive)
        return run(instance.steps(self._plan))

    def _cannot_load(self, fault: Fault, denial: Denial) -> Fault:
        """Remember a fault of the import: every problem that denies the same has it as well.

        No hidden input has entered this child, so all that it said may be shown.
        """
        said = fault.detail or fault.message
        named = Fault(
            kind=fault.kind,
            message=f"the submission could not be imported: {said}",
            where=fault.where,
        )
        if fault.kind is not FaultKind.INFRASTRUCTURE:
            self._load_faults[denial.entries] = named
        return named


def measure(
    submission: Submission,
    course: Course,
    *,
    walls: WallPool,
    machine: TimedMachine,
    faults: tuple[Fault, ...] = (),
) -> Measurement:
    """Run every problem of a course's plan on one submission, behind one wall.

    A wall that cannot be had is our failure: every case says so, and nothing is lost.

    Args:
        submission: what was handed in.
        course: the plan, its cases and the harness.
        walls: where a free wall comes from.
        machine: where its children compute.
        faults: why it cannot be run at all, such as an error of its compiler; else none.
    """
    begin_ns = time.perf_counter_ns()
    plan = course.plan
    layers: tuple[str, ...] = ()
    if faults:
        problems = tuple(_unmeasured(problem, course.cases, faults[0]) for problem in plan.problems)
        return replace(nothing_measured(walls), problems=problems)
    try:
        with machine.alone_on_device(), walls.borrow() as wall:
            measurer = Measurer(wall, submission, course, machine)
            problems = tuple(measurer.problem(problem, course.cases) for problem in plan.problems)
            layers = (*wall.layers, *walls.caveats)
    except (SandboxError, DeviceError) as error:
        fault = _our_fault(error)
        problems = tuple(_unmeasured(problem, course.cases, fault) for problem in plan.problems)
    return Measurement(
        sandbox=walls.sandbox,
        isolation=walls.isolation,
        layers=layers,
        problems=problems,
        wall_ns=time.perf_counter_ns() - begin_ns,
    )


def nothing_measured(walls: WallPool) -> Measurement:
    """Return the measurement of a submission that never entered a box."""
    return Measurement(
        sandbox=walls.sandbox, isolation=walls.isolation, layers=(), problems=(), wall_ns=0
    )


def measurement_of_failure(
    course: Course, error: Exception, *, sandbox: str, isolation: str
) -> Measurement:
    """Return the measurement of a submission that an error of ours kept from being measured."""
    if isinstance(error, SandboxError):
        fault = _our_fault(error)
    else:
        said = f"the grader failed: {type(error).__name__}: {error}"
        fault = Fault(kind=FaultKind.INFRASTRUCTURE, message=said)
    return Measurement(
        sandbox=sandbox,
        isolation=isolation,
        layers=(),
        problems=tuple(_unmeasured(p, course.cases, fault) for p in course.plan.problems),
        wall_ns=0,
    )


def _unmeasured(problem: PlannedProblem, cases: Cases, fault: Fault) -> ProblemMeasurement:
    return ProblemMeasurement(
        problem=problem.name,
        cases=tuple(instance.unmeasured(fault) for instance in instances(problem, cases)),
        output="",
        hidden_output="",
        children=0,
    )


def _our_fault(error: SandboxError | DeviceError) -> Fault:
    return Fault(kind=FaultKind.INFRASTRUCTURE, message=f"{error}. {error.hint}".strip())
