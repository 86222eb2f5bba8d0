"""Runs every case of a plan on one submission, in one sandbox, and returns a `Measurement`.

Each problem has a worker process of its own. A new one is started only after a crash, at most
twice, so that one bad case costs one check and not the whole problem. Verdicts are made by `judge`.
"""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from grader.assignment.loaded import LoadedAssignment
from grader.assignment.plan import Plan, PlannedProblem
from grader.assignment.sequences import SequenceMaker
from grader.assignment.steps import CaseSteps
from grader.assignment.target import CPU
from grader.correctness.instances import Instance, drive_sequence, failed, instances
from grader.errors import DeviceError, SandboxError
from grader.evidence.faults import (
    IMPORT_FAILED,
    LAUNCHER_MISSING,
    LOAD_ENDERS,
    PARTS_LOADED,
    Fault,
    FaultKind,
    LoadFailure,
    Raised,
    Stopped,
    damage_of,
    fault_of,
    our_fault,
)
from grader.evidence.measurement import Measurement, ProblemMeasurement
from grader.evidence.observations import CaseMeasurement, ErrorObservation
from grader.intake.submission import Origin, SourceFile, Submission
from grader.runner.order import Denial
from grader.sandbox.pool import SandboxPool
from grader.sandbox.sandbox import Sandbox
from grader.worker.machine import TimedMachine
from grader.worker.ranks.ranks import AnySession
from grader.worker.session import Session

MAX_WORKERS = 3
"""Worker processes per problem: one, and two more after crashes."""
HUNG_BEFORE = Fault(
    kind=FaultKind.TIMEOUT,
    message="not run, because an earlier case of this check did not return within the time limit",
)
"""Of the cases that follow in a check: each of them could take the whole limit again."""
MAX_REPEATS = 3
"""Cases and loads of a problem that are repeated because the machine was too busy to tell."""
_PLACE_AT_END = re.compile(r"\s*\([^()]*, line \d+\)$")


def measure(
    submission: Submission,
    loaded: LoadedAssignment,
    *,
    sandboxes: SandboxPool,
    machine: TimedMachine,
    faults: tuple[Fault, ...] = (),
) -> Measurement:
    """Run every problem of the plan on one submission, in one sandbox.

    Without a sandbox every case gets an infrastructure fault: a failure of ours, no points lost.
    `faults` say why the submission cannot be run at all, such as a compiler error.
    """
    begin_ns = time.perf_counter_ns()
    measured = nothing_measured(sandboxes.sandbox, sandboxes.isolation)
    if faults:
        return replace(measured, problems=_unmeasured(loaded, faults[0]))
    try:
        with machine.alone_on_device(), sandboxes.borrow() as sandbox:
            measurer = _Measurer(sandbox, submission, loaded, machine)
            problems = tuple(measurer.measure(problem) for problem in loaded.plan.problems)
            layers = (*sandbox.layers, *sandboxes.caveats)
            sliced = measurer.sliced
            measured = replace(measured, problems=problems, layers=layers, sliced=sliced)
    except (SandboxError, DeviceError) as error:
        measured = replace(measured, problems=_unmeasured(loaded, our_fault(error)))
    return replace(measured, wall_ns=time.perf_counter_ns() - begin_ns)


def nothing_measured(sandbox: str, isolation: str) -> Measurement:
    """Return the measurement of a submission that was never run."""
    return Measurement(sandbox=sandbox, isolation=isolation, layers=(), problems=(), wall_ns=0)


def measurement_of_failure(
    loaded: LoadedAssignment, error: Exception, *, sandbox: str, isolation: str
) -> Measurement:
    """Return the measurement of a submission that the grader failed to run."""
    nothing = nothing_measured(sandbox, isolation)
    return replace(nothing, problems=_unmeasured(loaded, our_fault(error)))


def _unmeasured(loaded: LoadedAssignment, fault: Fault) -> tuple[ProblemMeasurement, ...]:
    """Return problems none of whose cases could be run."""
    return tuple(
        ProblemMeasurement(
            problem=problem.name,
            cases=tuple(
                instance.unmeasured(fault)
                for instance in instances(loaded.plan, problem, loaded.cases)
            ),
            output="",
            hidden_output="",
            children=0,
        )
        for problem in loaded.plan.problems
    )


@dataclass(slots=True)
class _Run:
    """The run of one problem: the cases that wait, those that are done, and captured output."""

    problem: PlannedProblem
    waiting: list[Instance]
    limit_s: float
    spent_ns: int = 0  # of the limit, by earlier workers
    done: list[CaseMeasurement] = field(default_factory=list)
    output: str = ""
    hidden_output: str = ""
    workers: int = 0
    repeats: int = 0
    spared_ns: int = 0  # not of the limit: for shorter sequences, and for what is repeated

    def capture(self, text: str) -> None:
        """Add output; after the first hidden case it may repeat hidden inputs."""
        if all(case.public for case in self.done):
            self.output += text
        else:
            self.hidden_output += text

    def has_hung(self, check: str) -> bool:
        """Return whether a case of the check did not return within its limit."""
        faults = (fault for case in self.done if case.check == check for fault in case.faults)
        return any(fault.kind in (FaultKind.TIMEOUT, FaultKind.BUSY) for fault in faults)

    def repeats_after(self, faults: Sequence[Fault]) -> bool:
        """Return whether to try once more, in a new worker, because the machine was too busy."""
        if self.repeats == MAX_REPEATS or not any(f.kind is FaultKind.BUSY for f in faults):
            return False
        self.repeats += 1
        return True

    def has_failed(self, check: str) -> bool:
        """Return whether a case of the check has failed."""
        return any(case.check == check and failed(case) for case in self.done)


@dataclass(slots=True)
class _Measurer:
    """Runs the problems of one submission in one sandbox."""

    _sandbox: Sandbox
    _submission: Submission
    _loaded: LoadedAssignment
    _machine: TimedMachine
    _load_faults: dict[tuple[str, ...], Fault] = field(default_factory=dict)  # by denied entries
    _told: set[str] = field(default_factory=set)
    sliced: bool = False
    """Whether each problem loads only the statements that it needs, because all did not load."""

    def measure(self, problem: PlannedProblem) -> ProblemMeasurement:
        """Run every case of a problem, public ones first."""
        run = _Run(
            problem=problem,
            waiting=list(instances(self._loaded.plan, problem, self._loaded.cases)),
            limit_s=self._loaded.plan.limits.problem_wall_s,
        )
        fault = None if self.sliced else self._load_faults.get(problem.denied)
        while run.waiting and fault is None and run.workers < MAX_WORKERS + run.repeats:
            run.workers += 1
            fault = self._run_in_worker(run)
        if run.waiting:
            reason = fault or _ended_too_often(run)
            run.done.extend(instance.unmeasured(reason) for instance in run.waiting)
        return ProblemMeasurement(
            problem=problem.name,
            cases=tuple(run.done),
            output=run.output,
            hidden_output=run.hidden_output,
            children=run.workers,
            control_runs=self._control_runs(problem, run.done) if problem.denied else (),
        )

    def _run_in_worker(self, run: _Run) -> Fault | None:
        """Run cases in one worker until it ends; return a fault that concerns all that wait."""
        try:
            with self._machine.open_worker(
                self._sandbox,
                replace(self._submission, needs=run.problem.exports, sliced=self.sliced),
                limits=self._loaded.plan.limits,
                denial=Denial(problem=run.problem.name, entries=run.problem.denied),
                ranks=run.problem.ranks,
            ) as session:
                try:
                    return self._load_and_run(session, run)
                finally:
                    run.spent_ns += session.charged_ns + session.load_ns
                    run.capture(session.take_output())
                    self.sliced = self.sliced or session.sliced
                    run.output = self._tell_once(session.failures) + run.output
        except (SandboxError, DeviceError) as error:
            return our_fault(error)

    def _load_and_run(self, session: AnySession, run: _Run) -> Fault | None:
        try:
            session.load(self._loaded.harness)
        except (Raised, Stopped) as error:
            fault = fault_of(error)
            if fault.kind in LOAD_ENDERS and not self.sliced and isinstance(error, Stopped):
                self.sliced = True
                run.output += f"[{PARTS_LOADED.format(fault.message)}]\n"
                return None
            if run.repeats_after([fault]):
                return None
            return self._note_load_fault(fault, run.problem.denied)
        no_device = self._submission.origin is Origin.CUDA and self._loaded.plan.device == CPU
        if no_device and isinstance(session, Session):  # problems with ranks allow no C++
            return _without_device(session, run.problem.exports)
        while run.waiting and session.alive:
            spent_ns = run.spent_ns + session.charged_ns + session.load_ns - run.spared_ns
            if spent_ns > run.limit_s * 1e9:
                message = f"the problem took longer than its limit of {run.limit_s:g} s"
                return Fault(kind=FaultKind.TIMEOUT, message=message)
            instance = run.waiting.pop(0)
            if run.has_hung(instance.maker.check):
                run.done.append(instance.unmeasured(HUNG_BEFORE))
                continue
            if not instance.public:
                run.capture(session.take_output())
            # Shorten one sequence of each check: the others mostly fail by the same fault.
            shorten = not run.has_failed(instance.maker.check)
            before_ns = session.charged_ns
            case, after_ns = _run_case(session, instance, shorten=shorten)
            run.spared_ns += session.charged_ns - after_ns
            if run.repeats_after(case.faults):
                run.waiting.insert(0, instance)
                run.spared_ns += after_ns - before_ns
            else:
                run.done.append(case)
            session.end_case()
            run.capture(session.take_output())
        return None

    def _note_load_fault(self, fault: Fault, denied: tuple[str, ...]) -> Fault:
        """Remember a fault of the import: every problem that denies the same has it as well.

        No hidden input has reached this worker, so students may read the whole text.
        """
        text = fault.detail or fault.message
        if fault.where:  # a SyntaxError's own text ends with the line of the file
            text = _PLACE_AT_END.sub("", text)
        message = f"{IMPORT_FAILED}: {text}"
        named = Fault(kind=fault.kind, message=message, where=fault.where)
        if fault.kind is not FaultKind.INFRASTRUCTURE:
            self._load_faults[denied] = named
        return named

    def _tell_once(self, failures: Sequence[LoadFailure]) -> str:
        """Return a line for each statement that raised at load and was not told of before."""
        read = damage_of(self._submission)  # the submission's notices tell it already
        new = [one.notice for one in failures if one not in read and one.notice not in self._told]
        self._told.update(new)
        return "".join(f"[{notice}]\n" for notice in new)

    def _control_runs(
        self, problem: PlannedProblem, done: list[CaseMeasurement]
    ) -> tuple[CaseMeasurement, ...]:
        """Run what raised under the denial once without it; this can only change a cause."""
        raised = {(case.check, case.index, case.public) for case in first_raised(done)}
        waiting = [
            one
            for one in instances(self._loaded.plan, problem, self._loaded.cases)
            if (one.maker.check, one.index, one.public) in raised
        ]
        if not waiting:
            return ()
        limits = self._loaded.plan.limits
        try:
            with self._machine.open_worker(
                self._sandbox,
                replace(self._submission, needs=problem.exports, sliced=self.sliced),
                limits=limits,
                ranks=problem.ranks,
            ) as session:
                return run_controls(session, waiting, self._loaded.plan, self._loaded.harness)
        except (SandboxError, DeviceError):
            return ()  # the cause stays what it was under the denial


def _run_case(
    session: AnySession, instance: Instance, *, shorten: bool
) -> tuple[CaseMeasurement, int]:
    """Run a case; also return the charged time, in ns, before shorter sequences were tried."""
    first_ns: list[int] = []

    def run(steps: CaseSteps | None = None) -> CaseMeasurement:
        session.end_case()
        measured = instance.run(session, steps)
        first_ns.append(session.charged_ns)
        return measured

    if isinstance(instance.maker, SequenceMaker) and shorten:
        draw = instance.draw()
        case = drive_sequence(instance.maker, draw, run, alive=lambda: session.alive)
    else:
        case = run()
    return case, first_ns[0]


def _ended_too_often(run: _Run) -> Fault:
    """Return why cases were left over after the last worker ended."""
    last = next((case.faults[0] for case in reversed(run.done) if case.faults), None)
    return Fault(
        kind=last.kind if last else FaultKind.CRASH,
        message=f"not run, because {run.problem.name} had already ended its process "
        f"{MAX_WORKERS} times",
    )


def _without_device(session: Session, exports: Sequence[str]) -> Fault:
    """Return which launcher a compiled submission lacks, or that it cannot be run here."""
    for name in exports:
        try:
            session.ask("find", {"names": [name]})
        except Stopped as stopped:
            missing = stopped.fault.kind is FaultKind.MISSING
            message = f"{LAUNCHER_MISSING}: {name}" if missing else stopped.fault.message
            return Fault(kind=stopped.fault.kind, message=message)
        except Raised as raised:
            return fault_of(raised)
    message = "it compiled, but to run it takes a CUDA device, and this machine has none"
    return Fault(kind=FaultKind.NO_DEVICE, message=message)


def first_raised(done: Sequence[CaseMeasurement]) -> tuple[CaseMeasurement, ...]:
    """Return the first case of each check that failed by an exception that no step asked for."""
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
    session: AnySession, waiting: Sequence[Instance], plan: Plan, harness: Sequence[SourceFile]
) -> tuple[CaseMeasurement, ...]:
    """Run cases in a worker without a denial, as many as it can; output is not captured."""
    try:
        session.load(harness)
    except (Raised, Stopped):
        return ()
    limit_ns = plan.limits.problem_wall_s * 1e9
    done: list[CaseMeasurement] = []
    for instance in waiting:
        if not session.alive or session.charged_ns > limit_ns:
            break
        done.append(instance.run(session))
        session.end_case()
    return tuple(done)
