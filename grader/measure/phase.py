"""What is measured of one run: from its first step to its end, or to where its author ends it.

Takes: a session, a workload. Gives: a `RunSample` and the author's arithmetic. Does not cover:
which runs there are (see `measure.pace`).
"""

from grader.author.steps import PhaseEnd, PhaseStart, Request, Work, WorkloadSteps
from grader.measure.drive import Stopped
from grader.measure.observed import Fault
from grader.measure.ranks import AnySession
from grader.measure.samples import RunSample, SizeWork
from grader.sandbox.faults import FaultKind


class Phase:
    """One run's meters and clock; all runs of a fork together may take `limit_s` seconds.

    Attributes:
        work: what the workload says that it needs, added up.
    """

    def __init__(self, session: AnySession, size: int, *, limit_s: float) -> None:
        self._session = session
        self._limit_s = limit_s
        self._begin()
        self._ended: RunSample | None = None
        self.work = SizeWork(size=size, bytes_moved=0, flops=0, wire_bytes=0)

    def _begin(self) -> None:
        """Read the meters; what came before is not measured."""
        session = self._session
        self._before = session.usage()
        self._before_wall_ns = session.wall_ns
        self._calls = 0
        self._claims_before = len(session.claims())
        self._state_before = session.device_states()

    def listen(self, steps: WorkloadSteps) -> WorkloadSteps:
        """Pass a workload's steps on and their replies back; the box hears of no `Work`.

        Raises:
            Stopped: if the fork has taken too long.
        """
        reply = None
        while True:
            try:
                step = steps.send(reply)
            except StopIteration:
                return
            reply = None
            if isinstance(step, Work):
                self._add(step)
            elif isinstance(step, PhaseStart):
                self._begin()
            elif isinstance(step, PhaseEnd):
                self._ended = self._read()
            else:
                self._refuse_if_late()
                self._calls += isinstance(step, Request)
                reply = yield step

    def end(self) -> RunSample:
        """Return what the run took; the box is frozen.

        Raises:
            SandboxError: if the kernel does not tell.
        """
        return self._ended or self._read()

    def _read(self) -> RunSample:
        after = self._session.usage()
        return RunSample(
            wall_ns=self._session.wall_ns - self._before_wall_ns,
            cpu_ns=after.cpu_ns - self._before.cpu_ns,
            peak_bytes=after.peak_bytes,
            wire_bytes=after.wire_bytes - self._before.wire_bytes,
            calls=self._calls,
            claims=self._session.claims()[self._claims_before :],
            states=self._state_before + self._session.device_states(),
            rank_peak_bytes=self._session.rank_peaks(),
        )

    def _refuse_if_late(self) -> None:
        if self._session.wall_ns > self._limit_s * 1e9:
            message = f"the measured calls took longer than {self._limit_s:g} s together"
            raise Stopped(Fault(kind=FaultKind.TIMEOUT, message=message))

    def _add(self, step: Work) -> None:
        self.work = SizeWork(
            size=self.work.size,
            bytes_moved=self.work.bytes_moved + step.bytes_moved,
            flops=self.work.flops + step.flops,
            wire_bytes=self.work.wire_bytes + step.wire_bytes,
            dtype=step.dtype if self.work.dtype == step.dtype or not self.work.flops else "",
            derivation="; ".join(filter(None, (self.work.derivation, step.derivation))),
        )
