"""Runs a target's workload on submission and reference, turn by turn, until enough was seen.

Takes: two walls, a submission, a course. Gives: a `TargetMeasurement`. Does not cover: statistics
(see `measure.figures`) and verdicts (see `judge.pace`).

Both sides live in equal boxes, each in a wall of its own, and are frozen while the other runs. They
get the same inputs, new ones in every pair, one call at a time; every reply is compared, on both
sides, so that the judge's own work disturbs both alike. Both are forked anew several times.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from grader.author.declare import Workload
from grader.author.draw import Draw
from grader.errors import DeviceError, SandboxError
from grader.intake.submission import Origin, SourceFile, Submission
from grader.measure.clock import measure_empty_calls
from grader.measure.drive import Raised, Stopped, drive, fault_of
from grader.measure.machine import TimedMachine
from grader.measure.measurement import (
    CaseMeasurement,
    Fault,
    FaultKind,
    Observation,
    ValueObservation,
)
from grader.measure.phase import Phase
from grader.measure.processors import cores, read_processors
from grader.measure.samples import (
    EmptyCalls,
    ForkSample,
    PairSample,
    RunSample,
    SizeWork,
    TargetMeasurement,
)
from grader.measure.session import Session
from grader.plan.course import Course
from grader.plan.plan import PlannedProblem, PlannedTarget
from grader.plan.target import Quantity
from grader.runner.order import Denial
from grader.sandbox.wall import Wall

TURNS = {Quantity.TIME: 4, Quantity.GROWTH: 1, Quantity.MEMORY: 1, Quantity.TRAFFIC: 1}
"""Pairs per fork and size. Peak memory is counted from the fork on: one run in each."""

Enough = Callable[[TargetMeasurement], bool]


@dataclass(slots=True)
class _Seen:
    """A target on its way."""

    forks: list[ForkSample] = field(default_factory=list)
    pairs: list[PairSample] = field(default_factory=list)
    work: dict[int, SizeWork] = field(default_factory=dict)
    observations: dict[tuple[str, ...], Observation] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    reference_faults: list[Fault] = field(default_factory=list)
    metered: bool = True
    undenied: tuple[CaseMeasurement, ...] = ()
    last: tuple[int, int] = (0, 0)  # size and number of the draw

    @property
    def stopped(self) -> bool:
        return bool(self.faults or self.reference_faults)

    def compare(self, observations: Sequence[Observation]) -> None:
        """Keep the worst comparison of each kind: thousands of replies are compared."""
        for one in observations:
            key: tuple[str, ...]
            if isinstance(one, ValueObservation):
                key = (one.label, one.comparison.dtype, one.comparison.mismatch)
                before = self.observations.get(key)
                if isinstance(before, ValueObservation) and not (
                    one.comparison.error > before.comparison.error
                ):
                    continue
            else:
                key = (one.label, one.got)
            self.observations[key] = one


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """One of the two boxes of a fork."""

    session: Session
    is_subject: bool


class PaceMeasurer:
    """Measures targets of one submission in two walls, the second one for the reference."""

    def __init__(
        self,
        walls: tuple[Wall, Wall],
        submission: Submission,
        course: Course,
        machine: TimedMachine,
    ) -> None:
        self._walls = walls
        self._machine = machine
        self._submissions = (submission, _reference_of(course))
        self._course = course
        self._empty = measure_empty_calls(walls[1], course.plan.limits, machine)

    def target(
        self,
        problem: PlannedProblem,
        target: PlannedTarget,
        *,
        looks: Sequence[int],
        enough: Enough,
    ) -> TargetMeasurement:
        """Measure one target.

        Args:
            problem: the problem that it belongs to.
            target: what is measured.
            looks: numbers of forks after which `enough` is asked, ascending.
            enough: whether what was seen decides.
        """
        workload = self._course.workloads[problem.name, target.name]
        denial = Denial(problem=problem.name, entries=problem.denied)
        seen = _Seen()
        for goal in looks:
            while len(seen.forks) < goal and not seen.stopped:
                self._fork(workload, target, denial, seen)
            if denial.entries and any(f.kind is FaultKind.EXCEPTION for f in seen.faults):
                seen.undenied = self._undenied(workload, *seen.last)
            measured = _measured(workload, seen, self._empty)
            if seen.stopped or enough(measured):
                return measured
        return measured

    def _undenied(
        self, workload: Workload, size: int, draw_index: int
    ) -> tuple[CaseMeasurement, ...]:
        """Run the submission once more where nothing is denied; it can only change a cause."""
        plan = self._course.plan
        draw = Draw(plan.seed, (plan.assignment, workload.problem, workload.target), draw_index)
        try:
            with self._machine.open_box(
                self._walls[0], self._submissions[0], limits=plan.limits
            ) as session:
                session.load(self._course.harness)
                phase = Phase(session, size, limit_s=plan.limits.problem_wall_s)
                steps = phase.listen(workload(draw, size))
                name = workload.target
                return (drive(steps, session, check=name, index=draw_index, public=False),)
        except (SandboxError, DeviceError, Raised, Stopped):
            return ()  # the cause stays what it was under the denial

    def _fork(self, workload: Workload, target: PlannedTarget, denial: Denial, seen: _Seen) -> None:
        """Run all pairs of one fork of both sides; both are denied the same."""
        limits, open_box = self._course.plan.limits, self._machine.open_box
        seen.pairs = []
        try:
            with (
                open_box(
                    self._walls[0], self._submissions[0], limits=limits, denial=denial
                ) as subject,
                open_box(
                    self._walls[1], self._submissions[1], limits=limits, denial=denial
                ) as reference,
            ):
                sides = (
                    _Side(session=subject, is_subject=True),
                    _Side(session=reference, is_subject=False),
                )
                seen.metered = seen.metered and subject.metered and reference.metered
                if all(self._load(side, seen) for side in sides):
                    self._pairs(workload, target, sides, seen)
        except (SandboxError, DeviceError) as error:
            message = f"{error}. {error.hint}".strip()
            seen.reference_faults.append(Fault(kind=FaultKind.INFRASTRUCTURE, message=message))
        if not seen.stopped:
            seen.forks.append(ForkSample(pairs=tuple(seen.pairs)))

    def _load(self, side: _Side, seen: _Seen) -> bool:
        try:
            side.session.load(self._course.harness)
        except Raised as raised:
            _blame(side, seen, fault_of(raised))
        except Stopped as stopped:
            _blame(side, seen, stopped.fault)
        return not seen.stopped

    def _pairs(
        self,
        workload: Workload,
        target: PlannedTarget,
        sides: tuple[_Side, _Side],
        seen: _Seen,
    ) -> None:
        """Run the pairs of a fork: A B, B A, and so on, the other way round in the next fork."""
        turns = itertools.product(range(TURNS[target.quantity]), target.sizes)
        for number, (_, size) in enumerate(turns):
            subject_first = (number + len(seen.forks)) % 2 == 0
            draw_index = len(seen.forks) * 1000 + number
            before = read_processors()
            runs: dict[bool, RunSample] = {}
            for side in sides if subject_first else sides[::-1]:
                run = self._run(workload, size, draw_index, side, seen)
                if run is None:
                    return
                runs[side.is_subject] = run
            after = read_processors()
            own_ns = after.judge_ns - before.judge_ns + runs[True].cpu_ns + runs[False].cpu_ns
            seen.pairs.append(
                PairSample(
                    size=size,
                    subject_first=subject_first,
                    subject=runs[True],
                    reference=runs[False],
                    elapsed_ns=after.now_ns - before.now_ns,
                    stolen_ns=after.stolen_ns - before.stolen_ns,
                    foreign_ns=max(after.busy_ns - before.busy_ns - own_ns, 0),
                )
            )

    def _run(
        self, workload: Workload, size: int, draw_index: int, side: _Side, seen: _Seen
    ) -> RunSample | None:
        """Run the workload once on one side; nothing if that came to no end."""
        seen.last = (size, draw_index)
        plan = self._course.plan
        draw = Draw(plan.seed, (plan.assignment, workload.problem, workload.target), draw_index)
        phase = Phase(side.session, size, limit_s=plan.limits.problem_wall_s)
        case = drive(
            phase.listen(workload(draw, size)),
            side.session,
            check=workload.target,
            index=draw_index,
            public=False,
        )
        if case.faults:
            _blame(side, seen, case.faults[0])
            return None
        sample = phase.end()
        side.session.end_case()
        if side.is_subject:
            seen.compare(case.observations)
        seen.work[size] = phase.work
        return sample


def _blame(side: _Side, seen: _Seen, fault: Fault) -> None:
    """Put a fault where it belongs: what the reference does wrong is never a student's."""
    ours = (FaultKind.INFRASTRUCTURE, FaultKind.AUTHOR)
    if side.is_subject and fault.kind not in ours:
        seen.faults.append(fault)
    elif fault.kind in ours:
        seen.reference_faults.append(fault)
    else:
        message = f"the reference itself failed: {fault.message} {fault.detail}".strip()
        seen.reference_faults.append(Fault(kind=FaultKind.AUTHOR, message=message))


def _measured(workload: Workload, seen: _Seen, empty: EmptyCalls) -> TargetMeasurement:
    return TargetMeasurement(
        problem=workload.problem,
        target=workload.target,
        forks=tuple(seen.forks),
        work=tuple(seen.work[size] for size in sorted(seen.work)),
        empty=empty,
        metered=seen.metered,
        cores=cores(),
        observations=tuple(seen.observations.values()),
        faults=tuple(seen.faults),
        reference_faults=tuple(seen.reference_faults),
        undenied=seen.undenied,
    )


def _reference_of(course: Course) -> Submission:
    """Return the hidden reference as a submission; it runs in a wall that holds no other."""
    return Submission(
        name="reference",
        sha256="",
        origin=Origin.MODULE,
        entry="submission",
        files=(SourceFile(name="submission.py", text=course.solution),),
    )
