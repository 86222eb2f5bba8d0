"""A session whose worker computes on a GPU: its memory and its clock.

The clock runs from the request until the judge has its own copy of the reply. Mapping the arguments
in the worker lies in between: a null call with arguments of the same sizes tells what a call costs
besides its work. Before each request the last reply is poisoned and the cache is overwritten. After
each reply, off the clock, the device tells what slowed it down.

Where memory is measured, the judge reserves the rest of the device once the worker's CUDA context
exists, before anything of the submission is loaded. The arguments of a call come out of this
reserved memory and go back into it, so that only what the worker keeps counts as the worker's.

What follows from claims is decided in `performance.decide.event_claims`, what follows from memory
caps in `performance.decide.memory_cap`. The lease of the device is held for longer than a session.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch

from grader.assignment.table import Limits
from grader.errors import DeviceError, SandboxError
from grader.evidence.device import DeviceState
from grader.evidence.faults import Fault, FaultKind, Raised, Stopped, our_fault
from grader.evidence.samples import DeviceClaim
from grader.intake.submission import Submission
from grader.runner.cuda.api import CUDA_ERROR_OUT_OF_MEMORY
from grader.runner.order import NO_DENIAL, Denial
from grader.sandbox.meter import Usage
from grader.sandbox.sandbox import Sandbox
from grader.worker.buffers import Arguments, Ask, WorkerMemory, make_memory_file
from grader.worker.cuda.buffers import DeviceArgumentMemory, DeviceReplyMemory, block_bytes
from grader.worker.cuda.driver import DeviceDriver
from grader.worker.cuda.reserved_memory import CacheFlush, ReservedMemory
from grader.worker.session import Session, WorkerClock

MAX_EVENTS_NS = 1 << 53
"""A claim beyond this (104 days) is not a time."""


class CudaMemory(WorkerMemory):
    """The device's memory: blocks of arguments and replies, and what is left to the worker.

    Attributes:
        transfer_bytes: of the device, that the last call's arguments take in the worker.
    """

    def __init__(self, driver: DeviceDriver, replies: DeviceReplyMemory, flush: CacheFlush) -> None:
        super().__init__(replies)
        self._driver = driver
        self._device_replies = replies
        self._flush = flush
        self._reserved = ReservedMemory(driver)
        self._has_begun = self._is_limited = False
        self._is_measured = False  # whether memory was ever limited
        self._free_at_begin_bytes = 0
        self._arguments_bytes = 0
        self._left_bytes = self._least_free_bytes = 0
        self.transfer_bytes = 0

    def begin(self, ask: Ask, take_output: Callable[[], str]) -> None:
        """Let the worker map the memory for replies, unless it has; this begins CUDA there."""
        if self._has_begun:
            return
        self._free_at_begin_bytes = self._driver.free_bytes()
        request = {
            "op": "device",
            "uuid": self._driver.facts.uuid,
            "reply_bytes": self._device_replies.shared_bytes,
        }
        try:
            ask(request, (self._device_replies.fd,))
        except (Raised, Stopped) as error:
            raise SandboxError(
                f"a worker could not begin to use the device: {error}",
                hint=take_output()[-800:].strip(),
            ) from error
        self._has_begun = True

    def make_arguments(self, tensors: list[torch.Tensor]) -> Arguments:
        """Write the arguments, then overwrite the cache, so that it holds none of them."""
        needed_bytes = block_bytes(self._driver, tensors)
        if self._is_limited:
            self._exchange_arguments(needed_bytes)
        arguments = DeviceArgumentMemory(self._driver, tensors)
        self._arguments_bytes = needed_bytes
        self.transfer_bytes = needed_bytes if tensors else 0  # without tensors nothing is mapped
        self._device_replies.poison()
        self._flush.flush()
        return arguments

    def limit(self, limit_bytes: int) -> int:
        """Reserve all of the device but `limit_bytes`; return what is left."""
        free_bytes = self._driver.free_bytes()
        self._is_limited = limit_bytes < free_bytes
        left_bytes = self._reserved.leave(limit_bytes) if self._is_limited else free_bytes
        self._left_bytes = self._least_free_bytes = left_bytes
        self._is_measured = True
        return left_bytes

    def release(self) -> None:
        """Give the reserved memory back; from here on the device's memory is not counted."""
        self._is_limited = False
        self._reserved.release()

    def observe(self) -> None:
        """Note the least memory that was free."""
        if self._is_measured:
            # Under a limit the arguments came out of reserved memory, else out of free memory.
            free_bytes = self._driver.free_bytes()
            free_bytes += 0 if self._is_limited else self._arguments_bytes
            self._least_free_bytes = min(self._least_free_bytes, free_bytes)

    def counted(self, used: Usage) -> Usage:
        """Return it with the most that was held of what was left, where memory was limited."""
        if not self._is_measured:
            return used
        return replace(used, peak_bytes=max(self._left_bytes - self._least_free_bytes, 0))

    def check(self) -> None:
        """Ask the device whether it still works."""
        self._driver.synchronize()
        self._driver.state()

    def fault_of(self, error: DeviceError) -> Fault:
        """Return the machine's fault, or the worker's where it has filled the device.

        Under the lease nobody but the worker can have taken memory that was free at the beginning.
        """
        if error.code == CUDA_ERROR_OUT_OF_MEMORY and not self._is_limited:
            with contextlib.suppress(DeviceError):
                if self._driver.free_bytes() < self._free_at_begin_bytes // 2:
                    message = "it holds so much memory of the device that no input fits any more"
                    return Fault(kind=FaultKind.OUT_OF_MEMORY, message=message)
        return our_fault(error)

    def is_usable_after(self, reply: dict[str, Any]) -> bool:
        """Return whether the worker has not lost the device; the next case needs a new one then."""
        return reply.get("device_lost") is not True

    def _exchange_arguments(self, needed_bytes: int) -> None:
        """Take memory for the next arguments from what is reserved, and put the last back there.

        Arguments that the worker still maps did not come free: they count as the worker's.

        Raises:
            Stopped: if the worker holds more than it was left.
        """
        left_bytes = self._driver.free_bytes() - self._arguments_bytes
        if left_bytes < 0:
            message = "it keeps more of the device's memory than was left to it"
            raise Stopped(Fault(kind=FaultKind.OUT_OF_MEMORY, message=message))
        self._arguments_bytes = 0
        self._reserved.leave(left_bytes + needed_bytes)


class CudaClock(WorkerClock):
    """Runs until the judge has its own copy of the reply, and keeps what the worker claims."""

    compiles_kernels = True

    def __init__(
        self, driver: DeviceDriver, memory: CudaMemory, replies: DeviceReplyMemory
    ) -> None:
        self._driver = driver
        self._memory = memory
        self._replies = replies
        self._claims: list[DeviceClaim] = []
        self._states: tuple[DeviceState, ...] = ()
        self.settling_ns = 0

    def settle(self) -> None:
        """Copy the reply, on the clock: freezing the worker does not stop its kernels."""
        begin_ns = time.perf_counter_ns()
        try:
            self._replies.snapshot()
        finally:
            self.settling_ns += time.perf_counter_ns() - begin_ns

    def observe(self) -> None:
        """Note the state of the device."""
        state = self._driver.state()
        self._states = (self._states[0].joined(state) if self._states else state,)

    def note_call(self, reply: dict[str, Any], wall_ns: int) -> None:
        """Note a call that returned, and the time of its CUDA events if the worker claims one."""
        if "value" not in reply:
            return
        claim = reply.get("events_ns")
        events_ns = (claim,) if type(claim) is int and 0 <= claim < MAX_EVENTS_NS else ()
        self._claims.append(
            DeviceClaim(
                wall_ns=wall_ns,
                events_ns=events_ns,
                transfer_bytes=self._memory.transfer_bytes,
            )
        )

    def claims(self) -> tuple[DeviceClaim, ...]:
        """Return every call that returned, oldest first."""
        return tuple(self._claims)

    def states(self) -> tuple[DeviceState, ...]:
        """Return the device's state over all replies since the last time, and now."""
        self.observe()
        states, self._states = self._states, ()
        return states


@contextlib.contextmanager
def open_device_session(
    sandbox: Sandbox,
    submission: Submission,
    *,
    limits: Limits,
    driver: DeviceDriver,
    denial: Denial = NO_DENIAL,
) -> Iterator[Session]:
    """Fork a worker that computes on a device; end it when the block ends.

    Raises:
        SandboxError: if it cannot be confined.
        DeviceError: if the device has too little free memory for its replies.
    """
    with contextlib.ExitStack() as stack:
        replies = DeviceReplyMemory(driver, limits.reply_bytes)
        stack.callback(replies.close)
        flush = stack.enter_context(contextlib.closing(CacheFlush(driver)))
        unused_fd = make_memory_file(1)  # as small as can be: replies are on the device
        stack.callback(os.close, unused_fd)
        child = stack.enter_context(sandbox.child(unused_fd, denial))
        memory = CudaMemory(driver, replies, flush)
        session = Session(
            sandbox,
            child,
            submission=submission,
            limits=limits,
            memory=memory,
            clock=CudaClock(driver, memory, replies),
        )
        stack.callback(session.close)
        yield session
