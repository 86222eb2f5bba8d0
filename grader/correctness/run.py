"""Carries a whole plan through a wall: one child per problem, a new one only after a crash.

Takes: a submission, a plan, its cases and a wall. Gives: a `Measurement`. Does not cover: verdicts.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from grader.assignment.device_class import CPU
from grader.assignment.loaded import LoadedAssignment
from grader.assignment.plan import Plan, PlannedProblem
from grader.assignment.sequences import SequenceMaker
from grader.assignment.steps import CaseSteps
from grader.correctness.drive import drive
from grader.correctness.instances import Cases, Instance, drive_sequence, failed, instances
from grader.errors import DeviceError, SandboxError
from grader.evidence.faults import Fault, FaultKind, Raised, Stopped, fault_from, fault_of
from grader.evidence.measurement import Measurement, ProblemMeasurement
from grader.evidence.observations import CaseMeasurement, ErrorObservation
from grader.intake.submission import Origin, Submission
from grader.runner.order import Denial
from grader.sandbox.pool import SandboxPool
from grader.sandbox.sandbox import Sandbox
from grader.worker.machine import TimedMachine
from grader.worker.ranks.ranks import AnySession
from grader.worker.session import Session

HUNG_BEFORE = Fault(
    kind=FaultKind.TIMEOUT, message="not run: another case of this check came to no end"
)
"""Of the cases that follow in a check: each could take the whole limit again."""


def has_hung(done: Sequence[CaseMeasurement], check: str) -> bool:
    """Return whether a case of a check came to no end."""
    faults = (fault for case in done if case.check == check for fault in case.faults)
    return any(fault.kind is FaultKind.TIMEOUT for fault in faults)


def ended_too_often(
    problem: PlannedProblem, done: Sequence[CaseMeasurement], *, times: int
) -> Fault:
    """Say why cases were left over after the last child ended."""
    last = next((case.faults[0] for case in reversed(done) if case.faults), None)
    kind = last.kind if last else FaultKind.CRASH
    return Fault(
        kind=kind, message=f"not run: {problem.name} had already ended its process {times} times"
    )


def without_device(session: Session, exports: Sequence[str]) -> Fault:
    """Say what a loaded library lacks, or that nothing else can be known of it here."""
    for name in exports:
        try:
            session.ask("find", {"names": [name]})
        except Stopped as stopped:
            missing = stopped.fault.kind is FaultKind.MISSING
            message = f"the launcher {name} is not defined" if missing else stopped.fault.message
            return Fault(kind=stopped.fault.kind, message=message)
        except Raised as raised:
            return fault_of(raised)
    message = "compiled; running it needs a CUDA device, which this machine does not have"
    return Fault(kind=FaultKind.NO_DEVICE, message=message)


def first_raised(done: Sequence[CaseMeasurement]) -> tuple[CaseMeasurement, ...]:
    """Return the first case of each check that an exception, which no step asked for, made fail."""
    found: dict[str, CaseMeasurement] = {}
    for case in done:
        if _has_raised(case):
            found.setdefault(case.check, case)
    return tuple(found.values())


def _has_raised(case: CaseMeasurement) -> bool:
    if any(fault.kind is FaultKind.EXCEPTION for fault in case.faults):
        return True
    errors = (one for one in case.observations if isinstance(one, ErrorObservation))
    return any(error.got and not error.matches for error in errors)


def run_controls(
    session: AnySession, waiting: Sequence[Instance], plan: Plan, harness: str
) -> tuple[CaseMeasurement, ...]:
    """Run cases in a box without a denial, as far as it gets; what it prints is not kept."""
    try:
        session.load(harness)
    except (Raised, Stopped):
        return ()
    limit_ns = plan.limits.problem_wall_s * 1e9
    done: list[CaseMeasurement] = []
    for instance in waiting:
        if not session.alive or session.wall_ns > limit_ns:
            break
        maker = instance.maker
        steps = instance.steps(plan)
        done.append(
            drive(steps, session, check=maker.check, index=instance.index, public=instance.public)
        )
        session.end_case()
    return tuple(done)


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

    def capture(self, text: str) -> None:
        """Keep printed text; after the first hidden case it may repeat hidden inputs."""
        if all(case.public for case in self.done):
            self.output += text
        else:
            self.hidden_output += text


class Measurer:
    """Runs the problems of one submission in one wall."""

    def __init__(
        self,
        sandbox: Sandbox,
        submission: Submission,
        loaded: LoadedAssignment,
        machine: TimedMachine,
    ) -> None:
        self._sandbox_handle = sandbox
        self._submission = submission
        self._plan = loaded.plan
        self._harness = loaded.harness
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
            control_runs=self._control_runs(problem, cases, run.done) if problem.denied else (),
        )

    def _control_runs(
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
            with self._machine.open_worker(
                self._sandbox_handle, self._submission, limits=limits, ranks=problem.ranks
            ) as session:
                return run_controls(session, waiting, self._plan, self._harness)
        except (SandboxError, DeviceError):
            return ()  # the cause stays what it was under the denial

    def _one_child(self, run: _Run) -> Fault | None:
        """Run cases in one child until it ends; return a fault that concerns all that wait."""
        try:
            with self._machine.open_worker(
                self._sandbox_handle,
                self._submission,
                limits=self._plan.limits,
                denial=run.denial,
                ranks=run.ranks,
            ) as session:
                try:
                    return self._load_and_run(session, run)
                finally:
                    run.capture(session.take_output())
        except (SandboxError, DeviceError) as error:
            return fault_from(error)

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
                run.capture(session.take_output())
            # One shortest sequence for each check: the others fail by the same fault most often.
            again = any(c.check == instance.maker.check and failed(c) for c in run.done)
            run.done.append(self._one_case(session, instance, shrinking=not again))
            session.end_case()
            run.capture(session.take_output())
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
        text = fault.detail or fault.message
        named = Fault(
            kind=fault.kind,
            message=f"the submission could not be imported: {text}",
            where=fault.where,
        )
        if fault.kind is not FaultKind.INFRASTRUCTURE:
            self._load_faults[denial.entries] = named
        return named


def measure(
    submission: Submission,
    loaded: LoadedAssignment,
    *,
    sandboxes: SandboxPool,
    machine: TimedMachine,
    faults: tuple[Fault, ...] = (),
) -> Measurement:
    """Run every problem of a course's plan on one submission, behind one wall.

    A wall that cannot be had is our failure: every case says so, and nothing is lost.

    Args:
        submission: what was handed in.
        loaded: the plan, its cases and the harness.
        sandboxes: where a free wall comes from.
        machine: where its children compute.
        faults: why it cannot be run at all, such as an error of its compiler; else none.
    """
    begin_ns = time.perf_counter_ns()
    plan = loaded.plan
    layers: tuple[str, ...] = ()
    if faults:
        problems = tuple(_unmeasured(problem, loaded.cases, faults[0]) for problem in plan.problems)
        return replace(nothing_measured(sandboxes), problems=problems)
    try:
        with machine.alone_on_device(), sandboxes.borrow() as sandbox:
            measurer = Measurer(sandbox, submission, loaded, machine)
            problems = tuple(measurer.problem(problem, loaded.cases) for problem in plan.problems)
            layers = (*sandbox.layers, *sandboxes.caveats)
    except (SandboxError, DeviceError) as error:
        fault = fault_from(error)
        problems = tuple(_unmeasured(problem, loaded.cases, fault) for problem in plan.problems)
    return Measurement(
        sandbox=sandboxes.sandbox,
        isolation=sandboxes.isolation,
        layers=layers,
        problems=problems,
        wall_ns=time.perf_counter_ns() - begin_ns,
    )


def nothing_measured(sandboxes: SandboxPool) -> Measurement:
    """Return the measurement of a submission that never entered a box."""
    return Measurement(
        sandbox=sandboxes.sandbox, isolation=sandboxes.isolation, layers=(), problems=(), wall_ns=0
    )


def measurement_of_failure(
    loaded: LoadedAssignment, error: Exception, *, sandbox: str, isolation: str
) -> Measurement:
    """Return the measurement of a submission that an error of ours kept from being measured."""
    if isinstance(error, SandboxError):
        fault = fault_from(error)
    else:
        text = f"the grader failed: {type(error).__name__}: {error}"
        fault = Fault(kind=FaultKind.INFRASTRUCTURE, message=text)
    return Measurement(
        sandbox=sandbox,
        isolation=isolation,
        layers=(),
        problems=tuple(_unmeasured(p, loaded.cases, fault) for p in loaded.plan.problems),
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
