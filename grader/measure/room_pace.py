"""Runs a memory target on a device: the reference with all of it, the submission in what is left.

Takes: as `measure.pace`, on a machine with a device. Gives: `RoomMeasurer`. Does not cover: which
room comes next and what it proves (see `measure.room`), how it is left (see
`measure.device_session`).

The two sides are never on the device together: what one holds would be missing to the other. Each
fork is one run of the reference and one of the submission on the same inputs. Where the submission
fails in less than all of the device, for whatever reason, that room was too small: it has come to
its end with all of it.
"""

import math
from collections.abc import Callable
from dataclasses import replace

from grader.author.declare import Workload
from grader.author.draw import Draw
from grader.author.steps import PhaseEnd, Value, WorkloadSteps
from grader.measure.pace import PaceMeasurer
from grader.measure.processors import read_processors
from grader.measure.ranks import AnySession
from grader.measure.room import next_ratio
from grader.measure.samples import PairSample, Room, RunSample
from grader.measure.seen import Seen
from grader.plan.plan import PlannedTarget

ALL_BYTES = 1 << 62
"""More than any device has."""


class RoomMeasurer(PaceMeasurer):
    """Measures memory targets of one submission on a device."""

    def _race(self, workload: Workload, target: PlannedTarget, seen: Seen) -> None:
        """Run the reference, then the submission in the room that follows from the forks so far."""
        before = read_processors()
        reference = self._alone(workload, target, seen, is_subject=False)
        if reference is None:
            return
        peak_bytes = max(reference.peak_bytes, 1)
        ratio = next_ratio(target.tiers[0], tuple(seen.forks))
        limit_bytes = math.ceil(ratio * peak_bytes) if math.isfinite(ratio) else ALL_BYTES
        subject = self._alone(workload, target, seen, is_subject=True, limit_bytes=limit_bytes)
        if subject is None:
            return
        (room,) = subject.room
        ratio = ratio if math.isfinite(ratio) else room.limit_bytes / peak_bytes
        after = read_processors()
        seen.pairs.append(
            PairSample(
                size=target.sizes[-1],
                subject_first=False,
                subject=replace(subject, room=(replace(room, ratio=ratio),)),
                reference=replace(reference, room=()),
                elapsed_ns=after.now_ns - before.now_ns,
                stolen_ns=after.stolen_ns - before.stolen_ns,
                foreign_ns=0,
            )
        )

    def _alone(
        self,
        workload: Workload,
        target: PlannedTarget,
        seen: Seen,
        *,
        is_subject: bool,
        limit_bytes: int = ALL_BYTES,
    ) -> RunSample | None:
        """Run one side by itself; nothing if it came to no end with all of the device."""
        with self._open(seen, is_subject=is_subject) as side:
            seen.metered = seen.metered and side.session.metered
            left_bytes = side.session.squeeze(limit_bytes)
            run = None
            if self._load(side, seen):
                lifting = replace(workload, make=_lifting(workload, side.session))
                run = self._run(lifting, target.sizes[-1], len(seen.forks) * 1000, side, seen)
        if run is not None:  # its time is not asked, so nothing is claimed of it
            room = Room(limit_bytes=left_bytes, ratio=1.0, sufficed=True)
            return replace(run, room=(room,), claims=())
        if limit_bytes == ALL_BYTES or seen.reference_faults:
            return None
        seen.faults.clear()
        return RunSample(
            wall_ns=0,
            cpu_ns=0,
            peak_bytes=left_bytes,
            wire_bytes=0,
            calls=0,
            room=(Room(limit_bytes=left_bytes, ratio=1.0, sufficed=False),),
        )


def _lifting(workload: Workload, session: AnySession) -> Callable[[Draw, int], WorkloadSteps]:
    """Return the workload's steps, which give the box all of the device at the end of the phase."""

    def make(draw: Draw, size: int) -> WorkloadSteps:
        steps = workload(draw, size)
        reply: Value = None
        while True:
            try:
                step = steps.send(reply)
            except StopIteration:
                return
            reply = yield step
            if isinstance(step, PhaseEnd):
                session.release()

    return make
