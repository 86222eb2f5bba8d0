"""One run of a workload: its meters, its clock, and the timeline that ranks record of it.

`Phase` measures a run from its first step to its end, or between the `PhaseStart` and `PhaseEnd`
that the author sets. `record_ranks` runs a workload of ranks once more, only to show where each
rank spent its time; no point depends on that run. Which runs are measured is decided in
`performance.measure.interleaved`.
"""

from dataclasses import replace

from grader.assignment.draw import PUBLIC_SEED, Draw
from grader.assignment.loaded import LoadedAssignment
from grader.assignment.plan import PlannedProblem, PlannedTarget
from grader.assignment.steps import (
    PhaseEnd,
    PhaseStart,
    Request,
    Work,
    WorkloadStep,
    WorkloadSteps,
    tap,
)
from grader.correctness.drive import drive
from grader.errors import SandboxError
from grader.evidence.faults import Fault, FaultKind, Raised, Stopped
from grader.evidence.samples import RunSample, SizeWork
from grader.evidence.timeline import RankTimeline
from grader.intake.submission import Submission
from grader.runner.order import Denial
from grader.sandbox.sandbox import Sandbox
from grader.worker.ranks.ranks import AnySession, RankedWorker


class Phase:
    """The meters and the clock of one run; all runs of a fork together may take `limit_s` seconds.

    Attributes:
        work: the sum of the `Work` steps: the bytes and operations that the author counts.
    """

    def __init__(self, session: AnySession, size: int, *, limit_s: float) -> None:
        self._session = session
        self._limit_s = limit_s
        self._begin()
        self._ended: RunSample | None = None
        self.work = SizeWork(size=size, bytes_moved=0, flops=0, traffic_bytes=0)

    def _begin(self) -> None:
        """Read the meters; everything before is not measured."""
        session = self._session
        self._before = session.usage()
        self._before_wall_ns = session.wall_ns
        self._calls = 0
        self._claims_before = len(session.claims())
        self._state_before = session.device_states()

    def listen(self, steps: WorkloadSteps) -> WorkloadSteps:
        """Pass on a workload's steps and their replies, except `Work` and the phase's limits.

        Raises:
            Stopped: if the fork has taken too long.
        """

        def on_step(step: WorkloadStep) -> WorkloadStep | None:
            if isinstance(step, Work):
                self._add(step)
            elif isinstance(step, PhaseStart):
                self._begin()
            elif isinstance(step, PhaseEnd):
                self._ended = self._read()
                self._session.release()  # a memory cap holds for the measured phase only
            else:
                if self._session.charged_ns > self._limit_s * 1e9:
                    limit = f"{self._limit_s:g} s"
                    message = f"the timed calls of one process took longer than {limit} together"
                    raise Stopped(Fault(kind=FaultKind.TIMEOUT, message=message))
                self._calls += isinstance(step, Request)
                return step
            return None

        return tap(steps, on_step)

    def end(self) -> RunSample:
        """Return the sample of the run; the worker is frozen now.

        Raises:
            SandboxError: if the counters of the worker cannot be read.
        """
        return self._ended or self._read()

    def _read(self) -> RunSample:
        after = self._session.usage()
        return RunSample(
            wall_ns=self._session.wall_ns - self._before_wall_ns,
            cpu_ns=after.cpu_ns - self._before.cpu_ns,
            peak_bytes=after.peak_bytes,
            traffic_bytes=after.traffic_bytes - self._before.traffic_bytes,
            calls=self._calls,
            claims=self._session.claims()[self._claims_before :],
            states=self._state_before + self._session.device_states(),
            rank_peak_bytes=self._session.rank_peaks(),
            ran_ns=max(after.ran_ns - self._before.ran_ns, 0),
            queued_ns=max(after.queued_ns - self._before.queued_ns, 0),
        )

    def _add(self, step: Work) -> None:
        self.work = SizeWork(
            size=self.work.size,
            bytes_moved=self.work.bytes_moved + step.bytes_moved,
            flops=self.work.flops + step.flops,
            traffic_bytes=self.work.traffic_bytes + step.traffic_bytes,
            dtype=step.dtype if self.work.dtype == step.dtype or not self.work.flops else "",
            derivation="; ".join(filter(None, (self.work.derivation, step.derivation))),
        )


RECORDED_DRAW = 0
"""Draw index of the run that ranks record."""


def record_ranks(
    sandbox: Sandbox,
    submission: Submission,
    loaded: LoadedAssignment,
    problem: PlannedProblem,
    target: PlannedTarget,
    *,
    network_rate: int,
) -> tuple[RankTimeline, ...]:
    """Return the timelines that the ranks record in a run of the largest size; none if it failed.

    `network_rate` limits their network traffic as in the timed runs: bytes per second, 0 for none.
    """
    workload = loaded.workloads[problem.name, target.name]
    draw = Draw(PUBLIC_SEED, (loaded.plan.assignment, problem.name, target.name), RECORDED_DRAW)
    timelines: list[tuple[RankTimeline, ...]] = []
    try:
        with RankedWorker(
            sandbox,
            replace(submission, needs=problem.exports),
            limits=loaded.plan.limits,
            most=problem.ranks,
            denial=Denial(problem=problem.name, entries=problem.denied),
            network_rate=network_rate,
            record=True,
        ) as worker:
            worker.load(loaded.harness)
            steps = _listen(workload(draw, max(target.sizes)), worker, timelines)
            case = drive(steps, worker, check=target.name, index=RECORDED_DRAW, public=False)
    except (SandboxError, Raised, Stopped):
        return ()
    return timelines[-1] if timelines and not case.faults else ()


def _listen(
    steps: WorkloadSteps, worker: RankedWorker, timelines: list[tuple[RankTimeline, ...]]
) -> WorkloadSteps:
    """Pass a workload's steps on; keep what was recorded between its start and its end."""

    def on_step(step: WorkloadStep) -> WorkloadStep | None:
        if isinstance(step, PhaseStart):
            worker.recorded()
        elif isinstance(step, PhaseEnd):
            timelines.append(worker.recorded())
        return None if isinstance(step, PhaseStart | PhaseEnd | Work) else step

    passed_on: WorkloadSteps = tap(steps, on_step)
    yield from passed_on
    if not timelines and worker.size:
        timelines.append(worker.recorded())
