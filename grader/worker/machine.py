"""The machine that submissions run on: its device, its lease, and how a worker is opened there."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

from grader.assignment.table import Limits
from grader.assignment.target import CPU
from grader.evidence.device import Ceilings
from grader.intake.submission import Submission
from grader.runner.order import NO_DENIAL, Denial
from grader.sandbox.sandbox import Sandbox
from grader.worker.cuda.driver import DeviceDriver
from grader.worker.cuda.session import open_device_session
from grader.worker.lease import hold_lease
from grader.worker.ranks.ranks import AnySession, RankedWorker
from grader.worker.session import open_session


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedMachine:
    """One machine to measure on.

    Attributes:
        drivers: of the device that submissions compute on; none on the processor.
        ceilings: of the device; none if nothing is timed, and then no least time is known.
        on_wait: called with a sentence while another run has the machine to itself.
    """

    drivers: tuple[DeviceDriver, ...] = ()
    ceilings: tuple[Ceilings, ...] = ()
    on_wait: Callable[[str], None] = lambda holder: None

    @property
    def gpu_uuid(self) -> str:
        """The GPU that submissions compute on; empty on the processor."""
        return self.drivers[0].facts.uuid if self.drivers else ""

    @property
    def driver_release(self) -> str:
        """Release of the GPU's driver; empty on the processor."""
        return self.drivers[0].facts.driver_release if self.drivers else ""

    @property
    def lease_name(self) -> str:
        """Name of the lease to hold while something is timed."""
        return self.gpu_uuid or CPU

    def seen_by(self, ranks: int) -> "TimedMachine":
        """Return the machine for a problem with `ranks`, which compute on the processor.

        What they are judged by is counted there: bytes on a loopback device, pages of a cgroup.
        """
        return replace(self, drivers=(), ceilings=()) if ranks and self.drivers else self

    def alone(self) -> AbstractContextManager[None]:
        """Have the machine, or its device, to oneself; others wait.

        Raises:
            DeviceError: if the lease cannot be had.
        """
        return hold_lease(
            self.lease_name, on_wait=lambda holder: self.on_wait(f"waiting to measure: {holder}")
        )

    def alone_on_device(self) -> AbstractContextManager[None]:
        """Have the device to oneself, if there is one.

        For work that is not timed: on a device it would disturb timed work, and use its memory.

        Raises:
            DeviceError: if the lease cannot be had.
        """
        return self.alone() if self.drivers else nullcontext()

    def open_worker(
        self,
        sandbox: Sandbox,
        submission: Submission,
        *,
        limits: Limits,
        denial: Denial = NO_DENIAL,
        ranks: int = 0,
        network_rate: int = 0,
    ) -> AbstractContextManager[AnySession]:
        """Fork a worker that computes where submissions do on this machine.

        Args:
            sandbox: one without a worker.
            submission: what the worker will import.
            limits: of the worker, or of each rank.
            denial: what torch refuses to do in it.
            ranks: largest world of a problem with ranks; 0 for a problem without.
            network_rate: limit of the ranks' network, bytes per second; 0 for none.

        Raises:
            SandboxError: if it cannot be confined.
            DeviceError: if the device has too little free memory for its replies.
        """
        if submission.compiles() and limits.preload_compilers:
            sandbox.preload(limits.preload_compilers)
        if ranks:
            return RankedWorker(
                sandbox,
                submission,
                limits=limits,
                most=ranks,
                denial=denial,
                network_rate=network_rate,
            )
        if not self.drivers:
            return open_session(sandbox, submission, limits=limits, denial=denial)
        return open_device_session(
            sandbox, submission, limits=limits, driver=self.drivers[0], denial=denial
        )
