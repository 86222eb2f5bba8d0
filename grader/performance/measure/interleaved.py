"""Runs a target's workload on the submission and on the reference in turns, and keeps raw samples.

The submission and the reference each have an equal worker in a sandbox of its own; while one runs,
the other is frozen. Both get the same inputs, new ones in every pair of runs, one call at a time.
Every reply of both is compared, so that the grader's own work disturbs both alike. Both workers are
forked anew several times: the fork is the unit that repeats (see `performance.decide.interval`).

Not covered: statistics (`performance.decide.metrics`) and verdicts (`judge.targets`).
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from grader.assignment.declare import Workload
from grader.assignment.draw import PUBLIC_SEED, Draw
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
from grader.performance.measure.overhead import NullCalls
from grader.performance.measure.phase import Phase
from grader.runner.order import Denial
from grader.sandbox.processors import cores, read_processors
from grader.sandbox.sandbox import Sandbox
from grader.worker.machine import TimedMachine
from grader.worker.ranks.ranks import AnySession

TURNS = {Quantity.TIME: 4, Quantity.GROWTH: 1, Quantity.MEMORY: 1, Quantity.TRAFFIC: 1}
"""Pairs per fork and size. Peak memory is counted from the fork on, so it allows one run only."""
RANK_TURNS = 1
"""The same for ranks. They start fresh processes in every run, so further pairs in a fork save no
time, and an interval needs forks, not pairs."""

WARM_UP_DRAW, UNLIMITED_DRAW = 900, 950
"""Draw indices of runs that are not samples; those of samples start at 0 in every fork."""
UNLIMITED_RATE = 8_000_000_000
"""Bytes per second, far more than ranks can send: a limit that slows nothing down."""
UNLIMITED_RUNS = 3

Enough = Callable[[TargetMeasurement], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two workers of a fork."""

    session: AnySession
    is_submission: bool


@dataclass(slots=True, kw_only=True)
class RunSoFar:
    """Everything measured of one target so far; most fields are those of `TargetMeasurement`.

    Attributes:
        problem: whose restrictions hold for both sides.
        world: size of the process group that was measured last; 0 for plain workers.
        forks: complete forks.
        pairs: of the fork that is running.
        work: by size.
        observations: the worst comparison of each kind.
        last: size and draw index of the last run.
    """

    problem: PlannedProblem
    target: PlannedTarget
    workload: Workload
    network_rate: int
    world: int = 0
    forks: list[ForkSample] = field(default_factory=list)
    pairs: list[PairSample] = field(default_factory=list)
    work: dict[int, SizeWork] = field(default_factory=dict)
    observations: dict[tuple[str, ...], Observation] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    reference_faults: list[Fault] = field(default_factory=list)
    metered: bool = True
    control_runs: tuple[CaseMeasurement, ...] = ()
    public_runs: tuple[CaseMeasurement, ...] = ()
    transfers: tuple[EmptyCalls, ...] = ()
    last: tuple[int, int] = (0, 0)

    @property
    def stopped(self) -> bool:
        """Whether a fault has ended the measurement."""
        return bool(self.faults or self.reference_faults)

    @contextlib.contextmanager
    def catch_our_faults(self) -> Iterator[None]:
        """Record a sandbox or device that fails as a fault of ours."""
        try:
            yield
        except (SandboxError, DeviceError) as error:
            self.reference_faults.append(our_fault(error))

    def blame(self, side: Side, fault: Fault) -> None:
        """Record a fault of one side; a fault of the reference is never the student's."""
        if fault.kind in (FaultKind.BUSY, FaultKind.INFRASTRUCTURE, FaultKind.AUTHOR):
            self.reference_faults.append(fault)
        elif side.is_submission:
            self.faults.append(fault)
        else:
            message = f"the reference itself failed: {fault.message} {fault.detail}".strip()
            self.reference_faults.append(Fault(kind=FaultKind.AUTHOR, message=message))

    def compare(self, observations: Sequence[Observation]) -> None:
        """Keep the worst comparison of each kind: a measurement compares thousands of replies."""
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

    def measurement(self, empty: EmptyCalls) -> TargetMeasurement:
        """Return everything as a measurement; `empty` is the cost of a null call."""
        return TargetMeasurement(
            problem=self.problem.name,
            target=self.target.name,
            forks=tuple(self.forks),
            work=tuple(self.work[size] for size in sorted(self.work)),
            empty=empty,
            metered=self.metered,
            cores=cores(),
            observations=tuple(self.observations.values()),
            transfers=self.transfers,
            faults=tuple(self.faults),
            reference_faults=tuple(self.reference_faults),
            control_runs=self.control_runs,
            public_runs=self.public_runs,
            network_rate=self.network_rate,
        )


class TargetMeasurer:
    """Measures targets of one submission in two sandboxes; the second one is the reference's."""

    def __init__(
        self,
        sandboxes: tuple[Sandbox, Sandbox],
        submission: Submission,
        loaded: LoadedAssignment,
        machine: TimedMachine,
    ) -> None:
        self._sandboxes = sandboxes
        self._machine = machine
        self._submissions = (submission, Submission.of_files("reference", loaded.solution))
        self._loaded = loaded
        self._null_calls = NullCalls(sandboxes[1], loaded.plan.limits, machine)

    def target(
        self,
        problem: PlannedProblem,
        target: PlannedTarget,
        *,
        stages: Sequence[int],
        enough: Enough,
    ) -> TargetMeasurement:
        """Measure one target until, after a number of forks in `stages`, it is `enough`."""
        so_far = RunSoFar(
            problem=problem,
            target=target,
            workload=self._loaded.workloads[problem.name, target.name],
            network_rate=target.network_rate,
        )
        if target.traffic_share:
            self._limit_network(so_far)
        for goal in stages:
            while len(so_far.forks) < goal and not so_far.stopped:
                self._fork(so_far)
            if any(f.kind is FaultKind.EXCEPTION for f in so_far.faults):
                so_far.public_runs = self._run_once_more(so_far, so_far.problem.denied, public=True)
                if problem.denied:
                    so_far.control_runs = self._run_once_more(so_far, (), public=False)
            self._measure_transfers(so_far)
            empty = self._null_calls.in_worker
            with so_far.catch_our_faults():
                empty = self._null_calls.in_ranks(so_far.world)
            measured = so_far.measurement(empty)
            if so_far.stopped or enough(measured):
                return measured
        return measured

    def _measure_transfers(self, so_far: RunSoFar) -> None:
        """Measure null calls with arguments as large as the largest that the samples had."""
        pairs = [pair for fork in so_far.forks for pair in fork.pairs]
        claims = [c for p in pairs for c in (*p.submission.claims, *p.reference.claims)]
        sizes_bytes = {claim.transfer_bytes for claim in claims} - {0}
        largest_known = max((empty.transfer_bytes for empty in so_far.transfers), default=0)
        if not so_far.stopped and max(sizes_bytes, default=0) > largest_known:
            with so_far.catch_our_faults():
                so_far.transfers = self._null_calls.with_arguments(sizes_bytes)

    def _run_once_more(
        self, so_far: RunSoFar, denied: tuple[str, ...], *, public: bool
    ) -> tuple[CaseMeasurement, ...]:
        """Run the submission once more in a fresh worker, for a cause or a text but no points.

        Args:
            so_far: its last run ended in an exception.
            denied: what is denied.
            public: whether the inputs are those of the public seed.
        """
        try:
            with self._machine.open_worker(
                self._sandboxes[0],
                replace(self._submissions[0], needs=so_far.problem.exports),
                limits=self._loaded.plan.limits,
                denial=Denial(problem=so_far.problem.name, entries=denied),
                ranks=so_far.problem.ranks,
            ) as session:
                session.load(self._loaded.harness)
                case, _ = self._drive(so_far.workload, *so_far.last, session, public=public)
                return (case,)
        except (SandboxError, DeviceError, Raised, Stopped):
            return ()  # the cause, and the text, stay what they were

    def _limit_network(self, so_far: RunSoFar) -> None:
        """Set the rate at which sending takes `traffic_share` of the reference's time.

        The fastest of several runs without a limit counts: disturbances only make a run longer.
        """
        target = so_far.target
        so_far.network_rate, rates = UNLIMITED_RATE, [0.0]
        with so_far.catch_our_faults(), self._open(so_far, is_submission=False) as side:
            self._load(side, so_far)
            while len(rates) <= UNLIMITED_RUNS and not so_far.stopped:
                draw_index = UNLIMITED_DRAW + len(rates)
                run = self._run(target.sizes[-1], draw_index, side, so_far)
                rates += [run.traffic_bytes / max(run.wall_ns, 1)] if run else []
        so_far.network_rate = round(max(rates) * 1e9 / target.traffic_share)
        if not so_far.network_rate and not so_far.stopped:
            message = f"{so_far.problem.name}.{target.name}: the reference sends nothing"
            so_far.reference_faults.append(Fault(kind=FaultKind.AUTHOR, message=message))

    def _fork(self, so_far: RunSoFar) -> None:
        """Run all pairs of one fork of both sides."""
        so_far.pairs = []
        with so_far.catch_our_faults():
            self._race(so_far)
        if not so_far.stopped:
            so_far.forks.append(ForkSample(pairs=tuple(so_far.pairs)))

    def _race(self, so_far: RunSoFar) -> None:
        """Open a worker for each side and run the pairs of one fork in them."""
        with (
            self._open(so_far, is_submission=True) as submission,
            self._open(so_far, is_submission=False) as reference,
        ):
            sides = (submission, reference)
            so_far.metered = so_far.metered and all(side.session.metered for side in sides)
            if all(self._load(side, so_far) for side in sides) and all(
                self._warm_up(side, so_far) for side in sides
            ):
                self._pairs(sides, so_far)

    @contextlib.contextmanager
    def _open(self, so_far: RunSoFar, *, is_submission: bool) -> Iterator[Side]:
        """Start a worker for one side, with the same restrictions as the other; load nothing."""
        number = 0 if is_submission else 1
        with self._machine.open_worker(
            self._sandboxes[number],
            replace(self._submissions[number], needs=so_far.problem.exports),
            limits=self._loaded.plan.limits,
            denial=Denial(problem=so_far.problem.name, entries=so_far.problem.denied),
            ranks=so_far.problem.ranks,
            network_rate=so_far.network_rate,
        ) as session:
            yield Side(session=session, is_submission=is_submission)

    def _load(self, side: Side, so_far: RunSoFar) -> bool:
        """Load the harness and the side's source; return whether the measurement can go on."""
        try:
            side.session.load(self._loaded.harness)
        except (Raised, Stopped) as error:
            so_far.blame(side, fault_of(error))
        return not so_far.stopped

    def _warm_up(self, side: Side, so_far: RunSoFar) -> bool:
        """Run every size once before the samples; return whether the measurement can go on.

        On a device, in each fork: the first call of a kernel compiles, tunes and loads it, which
        takes a thousand times as long as the call. For ranks, before the first fork: the first
        process group of a sandbox takes up to twice as long as later ones, on either side. And for
        a submission that compiles on the processor: compiling is not the time of its code.
        """
        target = so_far.target
        is_cold = so_far.problem.ranks > 0 and not so_far.forks
        is_timed_cold = not target.quantity.is_counted and (
            is_cold or self._submissions[0].compiles()
        )
        sizes = target.sizes if self._machine.drivers or is_timed_cold else ()
        first = len(so_far.forks) * 1000 + WARM_UP_DRAW
        return all(
            self._run(size, first + number, side, so_far) is not None
            for number, size in enumerate(sizes)
        )

    def _pairs(self, sides: tuple[Side, Side], so_far: RunSoFar) -> None:
        """Run the pairs of a fork in the order A B, B A, ...; the next fork begins with B A."""
        target = so_far.target
        turns = RANK_TURNS if so_far.problem.ranks else TURNS[target.quantity]
        for number, size in enumerate(target.sizes * turns):
            submission_first = (number + len(so_far.forks)) % 2 == 0
            draw_index = len(so_far.forks) * 1000 + number
            before = read_processors()
            runs: dict[bool, RunSample] = {}
            for side in sides if submission_first else sides[::-1]:
                run = self._run(size, draw_index, side, so_far)
                if run is None:
                    return
                runs[side.is_submission] = run
            after = read_processors()
            known_ns = after.judge_ns - before.judge_ns + runs[True].cpu_ns + runs[False].cpu_ns
            so_far.pairs.append(
                PairSample(
                    size=size,
                    submission_first=submission_first,
                    submission=runs[True],
                    reference=runs[False],
                    elapsed_ns=after.now_ns - before.now_ns,
                    stolen_ns=after.stolen_ns - before.stolen_ns,
                    foreign_ns=max(after.busy_ns - before.busy_ns - known_ns, 0),
                )
            )

    def _run(self, size: int, draw_index: int, side: Side, so_far: RunSoFar) -> RunSample | None:
        """Run the workload once on one side; return None if a fault ended it."""
        so_far.last = (size, draw_index)
        case, phase = self._drive(so_far.workload, size, draw_index, side.session)
        if case.faults:
            so_far.blame(side, case.faults[0])
            return None
        sample = phase.end()
        # Ranks know whether cgroups count them only once they have started.
        so_far.metered = so_far.metered and side.session.metered
        so_far.world = len(sample.rank_peak_bytes)
        side.session.end_case()
        if side.is_submission:
            so_far.compare(case.observations)
        so_far.work[size] = phase.work
        return sample

    def _drive(
        self,
        workload: Workload,
        size: int,
        draw_index: int,
        session: AnySession,
        *,
        public: bool = False,
    ) -> tuple[CaseMeasurement, Phase]:
        """Drive a session through the workload's steps; return the replies and the meters."""
        plan = self._loaded.plan
        seed = PUBLIC_SEED if public else plan.seed
        draw = Draw(seed, (plan.assignment, workload.problem, workload.target), draw_index)
        phase = Phase(session, size, limit_s=plan.limits.problem_wall_s)
        steps = phase.listen(workload(draw, size))
        name = workload.target
        return drive(steps, session, check=name, index=draw_index, public=public), phase
