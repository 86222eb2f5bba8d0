"""Runs a target's workload on submission and reference, turn by turn, until enough was seen.

Takes: two walls, a submission, a course. Gives: a `TargetMeasurement`. Does not cover: statistics
(see `measure.figures`) and verdicts (see `judge.pace`).

Both sides live in equal boxes, each in a wall of its own, and are frozen while the other runs. They
get the same inputs, new ones in every pair, one call at a time; every reply is compared, on both
sides, so that the judge's own work disturbs both alike. Both are forked anew several times.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from grader.author.declare import Workload
from grader.author.draw import Draw
from grader.errors import DeviceError, SandboxError
from grader.intake.submission import Submission
from grader.measure.clock import measure_empty_calls, measure_empty_steps, measure_lending_calls
from grader.measure.drive import Raised, Stopped, drive, fault_of
from grader.measure.machine import TimedMachine
from grader.measure.measurement import CaseMeasurement, Fault, FaultKind
from grader.measure.phase import Phase
from grader.measure.processors import read_processors
from grader.measure.samples import EmptyCalls, ForkSample, PairSample, RunSample, TargetMeasurement
from grader.measure.seen import Seen, Side, blame, our_fault
from grader.plan.course import Course
from grader.plan.plan import PlannedProblem, PlannedTarget
from grader.plan.target import Quantity
from grader.runner.order import Denial
from grader.sandbox.wall import Wall

TURNS = {Quantity.TIME: 4, Quantity.GROWTH: 1, Quantity.MEMORY: 1, Quantity.TRAFFIC: 1}
"""Pairs per fork and size. Peak memory is counted from the fork on: one run in each."""
RANK_TURNS = 1
"""The same over ranks: every run has fresh processes there, so more pairs would save nothing, and
the forks are what an interval is made of."""

WARM_UP_DRAW, FREE_DRAW = 900, 950
"""Numbers of a fork's first draws before the clock counts; those that count begin at 0."""
FREE_RATE = 8_000_000_000
"""Bytes per second that hold nothing up: far more than ranks can send."""
FREE_RUNS = 3

Enough = Callable[[TargetMeasurement], bool]


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
        self._submissions = (submission, Submission.of_text("reference", course.solution))
        self._course = course
        self._empty = measure_empty_calls(walls[1], course.plan.limits, machine)
        self._empty_steps: dict[int, EmptyCalls] = {}  # by the size of the group

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
        seen = Seen(denial=denial, ranks=problem.ranks, wire_rate=target.wire_rate)
        lending: tuple[EmptyCalls, ...] = ()
        if target.wire_share:
            self._balance(workload, target, seen)
        for goal in looks:
            while len(seen.forks) < goal and not seen.stopped:
                self._fork(workload, target, seen)
            if seen.denial.entries and any(f.kind is FaultKind.EXCEPTION for f in seen.faults):
                seen.undenied = self._undenied(workload, seen)
            lending = self._lend(seen, lending)
            measured = replace(seen.measured(workload, self._empty_for(seen)), lending=lending)
            if seen.stopped or enough(measured):
                return measured
        return measured

    def _empty_for(self, seen: Seen) -> EmptyCalls:
        """Return what an empty call costs: of a group, one of the size that was measured."""
        if not seen.world:
            return self._empty
        if seen.world not in self._empty_steps:
            try:
                self._empty_steps[seen.world] = measure_empty_steps(
                    self._walls[1], self._course.plan.limits, self._machine, ranks=seen.world
                )
            except (SandboxError, DeviceError) as error:
                seen.reference_faults.append(our_fault(error))
                return self._empty
        return self._empty_steps[seen.world]

    def _undenied(self, workload: Workload, seen: Seen) -> tuple[CaseMeasurement, ...]:
        """Run the submission once more where nothing is denied; it can only change a cause."""
        plan = self._course.plan
        size, draw_index = seen.last
        draw = Draw(plan.seed, (plan.assignment, workload.problem, workload.target), draw_index)
        try:
            with self._machine.open_box(
                self._walls[0], self._submissions[0], limits=plan.limits, ranks=seen.ranks
            ) as session:
                session.load(self._course.harness)
                phase = Phase(session, size, limit_s=plan.limits.problem_wall_s)
                steps = phase.listen(workload(draw, size))
                name = workload.target
                return (drive(steps, session, check=name, index=draw_index, public=False),)
        except (SandboxError, DeviceError, Raised, Stopped):
            return ()  # the cause stays what it was under the denial

    def _fork(self, workload: Workload, target: PlannedTarget, seen: Seen) -> None:
        """Run all pairs of one fork of both sides."""
        seen.pairs = []
        try:
            self._race(workload, target, seen)
        except (SandboxError, DeviceError) as error:
            seen.reference_faults.append(our_fault(error))
        if not seen.stopped:
            seen.forks.append(ForkSample(pairs=tuple(seen.pairs)))

    def _lend(self, seen: Seen, known: tuple[EmptyCalls, ...]) -> tuple[EmptyCalls, ...]:
        """Return what calls cost that do nothing and lend as much memory as the measured ones."""
        pairs = [pair for fork in seen.forks for pair in fork.pairs]
        claims = [c for p in pairs for c in (*p.subject.claims, *p.reference.claims)]
        sizes_bytes = {claim.lent_bytes for claim in claims} - {0}
        if seen.stopped or max(sizes_bytes, default=0) <= max(
            (e.lent_bytes for e in known), default=0
        ):
            return known
        limits = self._course.plan.limits
        try:
            return measure_lending_calls(self._walls[1], limits, self._machine, sizes_bytes)
        except (SandboxError, DeviceError) as error:
            seen.reference_faults.append(our_fault(error))
            return known

    def _balance(self, workload: Workload, target: PlannedTarget, seen: Seen) -> None:
        """Hold the wire to the rate at which sending takes `wire_share` of the reference's time.

        Of several runs on a free wire the fastest counts: what disturbs one only makes it longer.
        """
        seen.wire_rate, rates = FREE_RATE, [0.0]
        try:
            with self._open(seen, is_subject=False) as side:
                self._load(side, seen)
                while len(rates) <= FREE_RUNS and not seen.stopped:
                    draw_index = FREE_DRAW + len(rates)
                    run = self._run(workload, target.sizes[-1], draw_index, side, seen)
                    rates += [run.wire_bytes / max(run.wall_ns, 1)] if run else []
        except (SandboxError, DeviceError) as error:
            seen.reference_faults.append(our_fault(error))
        seen.wire_rate = round(max(rates) * 1e9 / target.wire_share)
        if not seen.wire_rate and not seen.stopped:
            message = f"{workload.problem}.{workload.target}: the reference sends nothing"
            seen.reference_faults.append(Fault(kind=FaultKind.AUTHOR, message=message))

    def _race(self, workload: Workload, target: PlannedTarget, seen: Seen) -> None:
        """Open a box for each side and run the pairs of one fork in them."""
        with (
            self._open(seen, is_subject=True) as subject,
            self._open(seen, is_subject=False) as reference,
        ):
            sides = (subject, reference)
            seen.metered = seen.metered and all(side.session.metered for side in sides)
            if all(self._load(side, seen) for side in sides) and all(
                self._warm_up(workload, target, side, seen) for side in sides
            ):
                self._pairs(workload, target, sides, seen)

    def _warm_up(self, workload: Workload, target: PlannedTarget, side: Side, seen: Seen) -> bool:
        """Run every size once before the clock counts; every reply is compared like the others.

        On a device, in each fork: a kernel is compiled, tuned and loaded at its first call, which
        takes a thousand times as long as the call. Over ranks, before the first fork: the first
        world of a wall takes up to twice as long as those after it, on either side.
        """
        is_cold = seen.ranks > 0 and not seen.forks and not target.quantity.is_counted
        sizes = target.sizes if self._machine.drivers or is_cold else ()
        first = len(seen.forks) * 1000 + WARM_UP_DRAW
        return all(
            self._run(workload, size, first + number, side, seen) is not None
            for number, size in enumerate(sizes)
        )

    @contextlib.contextmanager
    def _open(self, seen: Seen, *, is_subject: bool) -> Iterator[Side]:
        """Fork a box for one side, denied what both are; nothing is loaded yet."""
        place = 0 if is_subject else 1
        wall, submission = self._walls[place], self._submissions[place]
        limits, denial = self._course.plan.limits, seen.denial
        with self._machine.open_box(
            wall,
            submission,
            limits=limits,
            denial=denial,
            ranks=seen.ranks,
            wire_rate=seen.wire_rate,
        ) as session:
            yield Side(session=session, is_subject=is_subject)

    def _load(self, side: Side, seen: Seen) -> bool:
        try:
            side.session.load(self._course.harness)
        except Raised as raised:
            blame(side, seen, fault_of(raised))
        except Stopped as stopped:
            blame(side, seen, stopped.fault)
        return not seen.stopped

    def _pairs(
        self,
        workload: Workload,
        target: PlannedTarget,
        sides: tuple[Side, Side],
        seen: Seen,
    ) -> None:
        """Run the pairs of a fork: A B, B A, and so on, the other way round in the next fork."""
        turns_per_fork = TURNS[target.quantity]
        if seen.ranks:
            turns_per_fork = min(turns_per_fork, RANK_TURNS)
        turns = itertools.product(range(turns_per_fork), target.sizes)
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
        self, workload: Workload, size: int, draw_index: int, side: Side, seen: Seen
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
            blame(side, seen, case.faults[0])
            return None
        sample = phase.end()
        seen.metered = seen.metered and side.session.metered  # of ranks, known from their start on
        seen.world = len(sample.rank_peak_bytes)
        side.session.end_case()
        if side.is_subject:
            seen.compare(case.observations)
        seen.work[size] = phase.work
        return sample
