"""Runs a memory target on a device: the reference with all of it, the submission in what is left.

Takes: as `performance.measure.interleaved`, on a machine with a device. Gives: `MemorySearch`. Does
not cover: which room comes next and what it proves (see `performance.decide.memory_cap`), how it is
left (see `worker.cuda.session`).

The two sides are never on the device together: what one holds would be missing to the other. Each
fork is one run of the reference and one of the submission on the same inputs. Where the submission
fails in less than all of the device, for whatever reason, that room was too small: it has come to
its end with all of it.
"""

import math
from collections.abc import Callable
from dataclasses import replace

from grader.assignment.declare import Workload
from grader.assignment.draw import Draw
from grader.assignment.plan import PlannedTarget
from grader.assignment.steps import PhaseEnd, Value, WorkloadStep, WorkloadSteps, tap
from grader.evidence.samples import MemoryCap, PairSample, RunSample
from grader.performance.decide.memory_cap import next_ratio
from grader.performance.measure.interleaved import RunSoFar, TargetMeasurer
from grader.performance.measure.processors import read_processors
from grader.worker.ranks.ranks import AnySession

ALL_BYTES = 1 << 62
"""More than any device has."""


class MemorySearch(TargetMeasurer):
    """Measures memory targets of one submission on a device."""

    def _race(self, workload: Workload, target: PlannedTarget, so_far: RunSoFar) -> None:
        """Run the reference, then the submission in the room that follows from the forks so far."""
        before = read_processors()
        reference = self._alone(workload, target, so_far, is_submission=False)
        if reference is None:
            return
        peak_bytes = max(reference.peak_bytes, 1)
        ratio = next_ratio(target.tiers[0], tuple(so_far.forks))
        limit_bytes = math.ceil(ratio * peak_bytes) if math.isfinite(ratio) else ALL_BYTES
        submission = self._alone(
            workload, target, so_far, is_submission=True, limit_bytes=limit_bytes
        )
        if submission is None:
            return
        (cap,) = submission.caps
        ratio = ratio if math.isfinite(ratio) else cap.limit_bytes / peak_bytes
        after = read_processors()
        so_far.pairs.append(
            PairSample(
                size=target.sizes[-1],
                submission_first=False,
                submission=replace(submission, caps=(replace(cap, ratio=ratio),)),
                reference=replace(reference, caps=()),
                elapsed_ns=after.now_ns - before.now_ns,
                stolen_ns=after.stolen_ns - before.stolen_ns,
                foreign_ns=0,
            )
        )

    def _alone(
        self,
        workload: Workload,
        target: PlannedTarget,
        so_far: RunSoFar,
        *,
        is_submission: bool,
        limit_bytes: int = ALL_BYTES,
    ) -> RunSample | None:
        """Run one side by itself; nothing if it came to no end with all of the device."""
        with self._open(so_far, is_submission=is_submission) as side:
            so_far.metered = so_far.metered and side.session.metered
            left_bytes = side.session.limit_memory(limit_bytes)
            run = None
            if self._load(side, so_far):
                lifting = replace(workload, make=_lifting(workload, side.session))
                run = self._run(lifting, target.sizes[-1], len(so_far.forks) * 1000, side, so_far)
        if run is not None:  # its time is not asked, so nothing is claimed of it
            cap = MemoryCap(limit_bytes=left_bytes, ratio=1.0, sufficed=True)
            return replace(run, caps=(cap,), claims=())
        if limit_bytes == ALL_BYTES or so_far.reference_faults:
            return None
        so_far.faults.clear()
        return RunSample(
            wall_ns=0,
            cpu_ns=0,
            peak_bytes=left_bytes,
            traffic_bytes=0,
            calls=0,
            caps=(MemoryCap(limit_bytes=left_bytes, ratio=1.0, sufficed=False),),
        )


def _lifting(workload: Workload, session: AnySession) -> Callable[[Draw, int], WorkloadSteps]:
    """Return the workload's steps, which give the box all of the device at the end of the phase."""

    def on_reply(step: WorkloadStep, _: Value) -> None:
        if isinstance(step, PhaseEnd):
            session.release()

    return lambda draw, size: tap(workload(draw, size), lambda step: step, on_reply)
