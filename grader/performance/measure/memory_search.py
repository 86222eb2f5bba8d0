"""Searches for the device memory that a submission needs, by giving it less and less of it.

In each fork the reference runs with the whole device, then the submission with a memory cap: the
grader reserves the rest of the device's memory. The two sides are never on the device together,
because what one of them uses would be missing for the other. Both get the same inputs. A submission
that fails under a cap, for whatever reason, needed more: it has already finished without a cap.

Not covered: which cap comes next and what follows from it (`performance.decide.memory_cap`), and
how memory is reserved (`worker.cuda.session`).
"""

import math
from dataclasses import replace

from grader.evidence.samples import MemoryCap, PairSample, RunSample
from grader.performance.decide.memory_cap import next_ratio
from grader.performance.measure.interleaved import RunSoFar, TargetMeasurer
from grader.sandbox.processors import read_processors

ALL_BYTES = 1 << 62
"""More than any device has: no cap."""


class MemorySearch(TargetMeasurer):
    """Measures memory targets of one submission on a device."""

    def _race(self, so_far: RunSoFar) -> None:
        """Run the reference, then the submission under the cap that follows from earlier forks."""
        before = read_processors()
        reference = self._alone(so_far, is_submission=False)
        if reference is None:
            return
        peak_bytes = max(reference.peak_bytes, 1)
        ratio = next_ratio(so_far.target.tiers[0], tuple(so_far.forks))
        limit_bytes = math.ceil(ratio * peak_bytes) if math.isfinite(ratio) else ALL_BYTES
        submission = self._alone(so_far, is_submission=True, limit_bytes=limit_bytes)
        if submission is None:
            return
        (cap,) = submission.caps
        ratio = ratio if math.isfinite(ratio) else cap.limit_bytes / peak_bytes
        after = read_processors()
        so_far.pairs.append(
            PairSample(
                size=so_far.target.sizes[-1],
                submission_first=False,
                submission=replace(submission, caps=(replace(cap, ratio=ratio),)),
                reference=replace(reference, caps=()),
                elapsed_ns=after.now_ns - before.now_ns,
                stolen_ns=after.stolen_ns - before.stolen_ns,
                foreign_ns=0,
            )
        )

    def _alone(
        self, so_far: RunSoFar, *, is_submission: bool, limit_bytes: int = ALL_BYTES
    ) -> RunSample | None:
        """Run one side by itself; return None if it failed without a cap."""
        with self._open(so_far, is_submission=is_submission) as side:
            so_far.metered = so_far.metered and side.session.metered
            left_bytes = side.session.limit_memory(limit_bytes)
            run = None
            if self._load(side, so_far):
                size, draw_index = so_far.target.sizes[-1], len(so_far.forks) * 1000
                run = self._run(size, draw_index, side, so_far)
        if run is not None:  # its time is not a criterion, so event claims are not kept
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
