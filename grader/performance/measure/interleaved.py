"""Runs a target's workload on submission and reference, turn by turn, until enough was seen.

Takes: two walls, a submission, a course. Gives: a `TargetMeasurement`. Does not cover: statistics
(see `performance.decide.metrics`) and verdicts (see `judge.targets`).

Both sides live in equal boxes, each in a wall of its own, and are frozen while the other runs. They
get the same inputs, new ones in every pair, one call at a time; every reply is compared, on both
sides, so that the judge's own work disturbs both alike. Both are forked anew several times.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from grader.assignment.declare import Workload
from grader.assignment.draw import Draw
from grader.assignment.loaded import LoadedAssignment
from grader.assignment.plan import PlannedProblem, PlannedTarget
from grader.assignment.target import Quantity
from grader.correctness.drive import drive
from grader.errors import DeviceError, SandboxError
from grader.evidence.faults import Fault, FaultKind, Raised, Stopped, fault_of, our_fault
from grader.evidence.observations import CaseMeasurement, Observation, ValueObservation
from grader.evidence.samples import (
    EmptyCalls,
    ForkSample,
    PairSample,
    RunSample,
    SizeWork,
    TargetMeasurement,
)
from grader.intake.submission import Submission
from grader.performance.measure.null_calls import (
    measure_null_calls,
    measure_null_steps,
    measure_transfer_calls,
)
from grader.performance.measure.phase import Phase
from grader.performance.measure.processors import cores, read_processors
from grader.runner.order import NO_DENIAL, Denial
from grader.sandbox.sandbox import Sandbox
from grader.worker.machine import TimedMachine
from grader.worker.ranks.ranks import AnySession


@dataclass(slots=True)
class RunSoFar:
    """A target on its way.

    Attributes:
        denial: what both sides are denied.
        ranks: largest world that both sides may start; 0 for boxes of their own.
        network_rate: bytes per second that their wire is held to; 0 for no limit.
        world: size of the one that was measured last.
        control_runs: the run of the submission without it, if it failed under it.
        last: size and number of the draw of the last run.
    """

    denial: Denial = NO_DENIAL
    ranks: int = 0
    network_rate: int = 0
    world: int = 0
    forks: list[ForkSample] = field(default_factory=list)
    pairs: list[PairSample] = field(default_factory=list)
    work: dict[int, SizeWork] = field(default_factory=dict)
    observations: dict[tuple[str, ...], Observation] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    reference_faults: list[Fault] = field(default_factory=list)
    metered: bool = True
    control_runs: tuple[CaseMeasurement, ...] = ()
    last: tuple[int, int] = (0, 0)

    @property
    def stopped(self) -> bool:
        """Whether a fault has ended it."""
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

    def measured(self, workload: Workload, empty: EmptyCalls) -> TargetMeasurement:
        """Return all of it as a measurement of `workload`'s target.

        Args:
            workload: what ran.
            empty: what a call costs that does nothing.
        """
        return TargetMeasurement(
            problem=workload.problem,
            target=workload.target,
            forks=tuple(self.forks),
            work=tuple(self.work[size] for size in sorted(self.work)),
            empty=empty,
            metered=self.metered,
            cores=cores(),
            observations=tuple(self.observations.values()),
            faults=tuple(self.faults),
            reference_faults=tuple(self.reference_faults),
            control_runs=self.control_runs,
            network_rate=self.network_rate,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two boxes of a fork."""

    session: AnySession
    is_submission: bool


def blame(side: Side, so_far: RunSoFar, fault: Fault) -> None:
    """Put a fault where it belongs: what the reference does wrong is never a student's."""
    ours = (FaultKind.INFRASTRUCTURE, FaultKind.AUTHOR)
    if side.is_submission and fault.kind not in ours:
        so_far.faults.append(fault)
    elif fault.kind in ours:
        so_far.reference_faults.append(fault)
    else:
        message = f"the reference itself failed: {fault.message} {fault.detail}".strip()
        so_far.reference_faults.append(Fault(kind=FaultKind.AUTHOR, message=message))


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


class TargetMeasurer:
    """Measures targets of one submission in two walls, the second one for the reference."""

    def __init__(
        self,
        sandboxes: tuple[Sandbox, Sandbox],
        submission: Submission,
        loaded: LoadedAssignment,
        machine: TimedMachine,
    ) -> None:
        self._sandboxes = sandboxes
        self._machine = machine
        self._submissions = (submission, Submission.of_text("reference", loaded.solution))
        self._loaded = loaded
        self._empty = measure_null_calls(sandboxes[1], loaded.plan.limits, machine)
        self._empty_steps: dict[int, EmptyCalls] = {}  # by the size of the group

    def target(
        self,
        problem: PlannedProblem,
        target: PlannedTarget,
        *,
        stages: Sequence[int],
        enough: Enough,
    ) -> TargetMeasurement:
        """Measure one target.

        Args:
            problem: the problem that it belongs to.
            target: what is measured.
            stages: numbers of forks after which `enough` is asked, ascending.
            enough: whether what was seen decides.
        """
        workload = self._loaded.workloads[problem.name, target.name]
        denial = Denial(problem=problem.name, entries=problem.denied)
        so_far = RunSoFar(denial=denial, ranks=problem.ranks, network_rate=target.network_rate)
        transfers: tuple[EmptyCalls, ...] = ()
        if target.traffic_share:
            self._balance(workload, target, so_far)
        for goal in stages:
            while len(so_far.forks) < goal and not so_far.stopped:
                self._fork(workload, target, so_far)
            if so_far.denial.entries and any(f.kind is FaultKind.EXCEPTION for f in so_far.faults):
                so_far.control_runs = self._control_runs(workload, so_far)
            transfers = self._transfer(so_far, transfers)
            measured = replace(
                so_far.measured(workload, self._empty_for(so_far)), transfers=transfers
            )
            if so_far.stopped or enough(measured):
                return measured
        return measured

    def _empty_for(self, so_far: RunSoFar) -> EmptyCalls:
        """Return what an empty call costs: of a group, one of the size that was measured."""
        if not so_far.world:
            return self._empty
        if so_far.world not in self._empty_steps:
            try:
                self._empty_steps[so_far.world] = measure_null_steps(
                    self._sandboxes[1], self._loaded.plan.limits, self._machine, ranks=so_far.world
                )
            except (SandboxError, DeviceError) as error:
                so_far.reference_faults.append(our_fault(error))
                return self._empty
        return self._empty_steps[so_far.world]

    def _control_runs(self, workload: Workload, so_far: RunSoFar) -> tuple[CaseMeasurement, ...]:
        """Run the submission once more where nothing is denied; it can only change a cause."""
        plan = self._loaded.plan
        size, draw_index = so_far.last
        draw = Draw(plan.seed, (plan.assignment, workload.problem, workload.target), draw_index)
        try:
            with self._machine.open_worker(
                self._sandboxes[0], self._submissions[0], limits=plan.limits, ranks=so_far.ranks
            ) as session:
                session.load(self._loaded.harness)
                phase = Phase(session, size, limit_s=plan.limits.problem_wall_s)
                steps = phase.listen(workload(draw, size))
                name = workload.target
                return (drive(steps, session, check=name, index=draw_index, public=False),)
        except (SandboxError, DeviceError, Raised, Stopped):
            return ()  # the cause stays what it was under the denial

    def _fork(self, workload: Workload, target: PlannedTarget, so_far: RunSoFar) -> None:
        """Run all pairs of one fork of both sides."""
        so_far.pairs = []
        try:
            self._race(workload, target, so_far)
        except (SandboxError, DeviceError) as error:
            so_far.reference_faults.append(our_fault(error))
        if not so_far.stopped:
            so_far.forks.append(ForkSample(pairs=tuple(so_far.pairs)))

    def _transfer(self, so_far: RunSoFar, known: tuple[EmptyCalls, ...]) -> tuple[EmptyCalls, ...]:
        """Return what calls cost that do nothing and lend as much memory as the measured ones."""
        pairs = [pair for fork in so_far.forks for pair in fork.pairs]
        claims = [c for p in pairs for c in (*p.submission.claims, *p.reference.claims)]
        sizes_bytes = {claim.transfer_bytes for claim in claims} - {0}
        if so_far.stopped or max(sizes_bytes, default=0) <= max(
            (e.transfer_bytes for e in known), default=0
        ):
            return known
        limits = self._loaded.plan.limits
        try:
            return measure_transfer_calls(self._sandboxes[1], limits, self._machine, sizes_bytes)
        except (SandboxError, DeviceError) as error:
            so_far.reference_faults.append(our_fault(error))
            return known

    def _balance(self, workload: Workload, target: PlannedTarget, so_far: RunSoFar) -> None:
        """Hold the wire to the rate at which sending takes `traffic_share` of the reference's time.

        Of several runs on a free wire the fastest counts: what disturbs one only makes it longer.
        """
        so_far.network_rate, rates = FREE_RATE, [0.0]
        try:
            with self._open(so_far, is_submission=False) as side:
                self._load(side, so_far)
                while len(rates) <= FREE_RUNS and not so_far.stopped:
                    draw_index = FREE_DRAW + len(rates)
                    run = self._run(workload, target.sizes[-1], draw_index, side, so_far)
                    rates += [run.traffic_bytes / max(run.wall_ns, 1)] if run else []
        except (SandboxError, DeviceError) as error:
            so_far.reference_faults.append(our_fault(error))
        so_far.network_rate = round(max(rates) * 1e9 / target.traffic_share)
        if not so_far.network_rate and not so_far.stopped:
            message = f"{workload.problem}.{workload.target}: the reference sends nothing"
            so_far.reference_faults.append(Fault(kind=FaultKind.AUTHOR, message=message))

    def _race(self, workload: Workload, target: PlannedTarget, so_far: RunSoFar) -> None:
        """Open a box for each side and run the pairs of one fork in them."""
        with (
            self._open(so_far, is_submission=True) as submission,
            self._open(so_far, is_submission=False) as reference,
        ):
            sides = (submission, reference)
            so_far.metered = so_far.metered and all(side.session.metered for side in sides)
            if all(self._load(side, so_far) for side in sides) and all(
                self._warm_up(workload, target, side, so_far) for side in sides
            ):
                self._pairs(workload, target, sides, so_far)

    def _warm_up(
        self, workload: Workload, target: PlannedTarget, side: Side, so_far: RunSoFar
    ) -> bool:
        """Run every size once before the clock counts; every reply is compared like the others.

        On a device, in each fork: a kernel is compiled, tuned and loaded at its first call, which
        takes a thousand times as long as the call. Over ranks, before the first fork: the first
        world of a wall takes up to twice as long as those after it, on either side.
        """
        is_cold = so_far.ranks > 0 and not so_far.forks and not target.quantity.is_counted
        sizes = target.sizes if self._machine.drivers or is_cold else ()
        first = len(so_far.forks) * 1000 + WARM_UP_DRAW
        return all(
            self._run(workload, size, first + number, side, so_far) is not None
            for number, size in enumerate(sizes)
        )

    @contextlib.contextmanager
    def _open(self, so_far: RunSoFar, *, is_submission: bool) -> Iterator[Side]:
        """Fork a box for one side, denied what both are; nothing is loaded yet."""
        place = 0 if is_submission else 1
        sandbox, submission = self._sandboxes[place], self._submissions[place]
        limits, denial = self._loaded.plan.limits, so_far.denial
        with self._machine.open_worker(
            sandbox,
            submission,
            limits=limits,
            denial=denial,
            ranks=so_far.ranks,
            network_rate=so_far.network_rate,
        ) as session:
            yield Side(session=session, is_submission=is_submission)

    def _load(self, side: Side, so_far: RunSoFar) -> bool:
        try:
            side.session.load(self._loaded.harness)
        except Raised as raised:
            blame(side, so_far, fault_of(raised))
        except Stopped as stopped:
            blame(side, so_far, stopped.fault)
        return not so_far.stopped

    def _pairs(
        self,
        workload: Workload,
        target: PlannedTarget,
        sides: tuple[Side, Side],
        so_far: RunSoFar,
    ) -> None:
        """Run the pairs of a fork: A B, B A, and so on, the other way round in the next fork."""
        turns_per_fork = TURNS[target.quantity]
        if so_far.ranks:
            turns_per_fork = min(turns_per_fork, RANK_TURNS)
        turns = itertools.product(range(turns_per_fork), target.sizes)
        for number, (_, size) in enumerate(turns):
            submission_first = (number + len(so_far.forks)) % 2 == 0
            draw_index = len(so_far.forks) * 1000 + number
            before = read_processors()
            runs: dict[bool, RunSample] = {}
            for side in sides if submission_first else sides[::-1]:
                run = self._run(workload, size, draw_index, side, so_far)
                if run is None:
                    return
                runs[side.is_submission] = run
            after = read_processors()
            own_ns = after.judge_ns - before.judge_ns + runs[True].cpu_ns + runs[False].cpu_ns
            so_far.pairs.append(
                PairSample(
                    size=size,
                    submission_first=submission_first,
                    submission=runs[True],
                    reference=runs[False],
                    elapsed_ns=after.now_ns - before.now_ns,
                    stolen_ns=after.stolen_ns - before.stolen_ns,
                    foreign_ns=max(after.busy_ns - before.busy_ns - own_ns, 0),
                )
            )

    def _run(
        self, workload: Workload, size: int, draw_index: int, side: Side, so_far: RunSoFar
    ) -> RunSample | None:
        """Run the workload once on one side; nothing if that came to no end."""
        so_far.last = (size, draw_index)
        plan = self._loaded.plan
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
            blame(side, so_far, case.faults[0])
            return None
        sample = phase.end()
        so_far.metered = (
            so_far.metered and side.session.metered
        )  # of ranks, known from their start on
        so_far.world = len(sample.rank_peak_bytes)
        side.session.end_case()
        if side.is_submission:
            so_far.compare(case.observations)
        so_far.work[size] = phase.work
        return sample
