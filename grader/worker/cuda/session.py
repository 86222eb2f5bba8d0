"""A box on a device: as `worker.session`, with memory of the device and a clock that waits for it.

Takes: a wall whose children may use the device, a submission, a driver. Gives: `DeviceSession`,
`open_device_session`. Does not cover: what follows from claims (see
`performance.decide.event_claims`) and from rooms (see `performance.decide.memory_cap`), the lease,
which holds for longer than one box.

The clock runs from the request until the judge's own copy of the reply is done; the mapping of the
arguments in the box lies in between, so an empty call with arguments of the same sizes calibrates
what a call costs besides its work. Before each request the last reply is poisoned and the cache is
written over. After each reply, off the clock, the device says what held it back.

Where memory is measured the box is squeezed: once its CUDA context is there and before anything of
the submission is, the judge takes the rest of the device as ballast. What the judge lends for a
call comes out of the ballast and goes back into it, so that only what the box keeps is charged.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from grader.assignment.steps import Call, New, Value
from grader.assignment.table import Limits
from grader.errors import ChannelError, DeviceError, SandboxError
from grader.evidence.device import DeviceState
from grader.evidence.faults import Fault, FaultKind, Raised, Stopped, our_fault
from grader.evidence.samples import DeviceClaim
from grader.intake.submission import Submission
from grader.runner.cuda.api import CUDA_ERROR_OUT_OF_MEMORY
from grader.runner.order import NO_DENIAL, Denial
from grader.sandbox.child_process import ChildProcess
from grader.sandbox.meter import Usage
from grader.sandbox.sandbox import Sandbox
from grader.worker.buffers import Arguments, make_memory_file
from grader.worker.cuda.buffers import DeviceArgumentMemory, DeviceReplyMemory, block_bytes
from grader.worker.cuda.driver import DeviceDriver
from grader.worker.cuda.reserved_memory import CacheFlush, ReservedMemory
from grader.worker.session import Session

MOST_EVENTS_NS = 1 << 53
"""Beyond it (104 days) a claim is no time."""


class DeviceSession(Session):
    """One child with the submission loaded, computing on a device.

    Attributes:
        timed: every call that returned, in order.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        child: ChildProcess,
        *,
        submission: Submission,
        limits: Limits,
        driver: DeviceDriver,
        reply_memory: DeviceReplyMemory,
        flush: CacheFlush,
    ) -> None:
        super().__init__(
            sandbox,
            child,
            submission=submission,
            limits=limits,
            reply_memory=reply_memory,
            make_arguments=self._prepare,
        )
        self._driver = driver
        self._replies = reply_memory
        self._flush = flush
        self._free_bytes = 0
        self._reserved_memory = ReservedMemory(driver)
        self._begun = self._limited = self._calling = False
        self._transfer_bytes = self._mapped_bytes = 0
        self._memory_caps: tuple[int, ...] = ()
        self._least_free_bytes = 0
        self._states: tuple[DeviceState, ...] = ()
        self._settling_ns = 0
        self._load_settling_ns = 0
        self._clocked_ns = 0
        self.timed: list[DeviceClaim] = []

    @property
    def wall_ns(self) -> int:
        """Time from request to the judge's copy of the reply, loading left out."""
        return super().wall_ns + self._settling_ns - self._load_settling_ns

    def claims(self) -> tuple[DeviceClaim, ...]:
        """Return what the box claims of its calls so far."""
        return tuple(self.timed)

    def device_states(self) -> tuple[DeviceState, ...]:
        """Return how the device ran, over all replies since this was last asked, and now."""
        self._see(self._driver.state())
        seen, self._states = self._states, ()
        return seen

    def limit_memory(self, limit_bytes: int) -> int:
        """Begin CUDA in the box, then leave it at most `limit_bytes` more, until `release`."""
        self._begin()
        free_bytes = self._driver.free_bytes()
        self._limited = limit_bytes < free_bytes
        self._least_free_bytes = (
            self._reserved_memory.leave(limit_bytes) if self._limited else free_bytes
        )
        self._memory_caps = (self._least_free_bytes,)
        return self._least_free_bytes

    def release(self) -> None:
        """Give the ballast back; from here on nothing of the device's memory is counted."""
        self._limited = False
        self._reserved_memory.release()

    def usage(self) -> Usage:
        """Return what the child has used; of memory, the device's, where the box was squeezed."""
        used = super().usage()
        if not self._memory_caps:
            return used
        return replace(used, peak_bytes=max(self._memory_caps[0] - self._least_free_bytes, 0))

    def load(self, harness: str) -> None:
        """Begin CUDA in the box, unless that is done, and import the submission.

        Raises:
            Raised, Stopped: as `Session.load`.
            SandboxError: if the box cannot use the device; nothing of the submission is in it yet.
        """
        self._begin()
        super().load(harness)
        self._load_settling_ns = self._settling_ns

    def close(self) -> None:
        """Let go of the judge's ends, and of the ballast."""
        try:
            super().close()
        finally:
            self.release()

    def _begin(self) -> None:
        """Lend the memory for replies, which begins CUDA in the box."""
        if self._begun:
            return
        self._free_bytes = self._driver.free_bytes()
        request = {
            "op": "device",
            "uuid": self._driver.facts.uuid,
            "reply_bytes": self._replies.shared_bytes,
        }
        try:
            self._ask(request, limit_s=self._limits.load_wall_s, fds=(self._replies.fd,))
        except (Raised, Stopped) as error:
            raise SandboxError(
                f"a box could not begin to use the device: {error}",
                hint=self.take_output()[-800:].strip(),
            ) from error
        self._begun = True

    def _prepare(self, tensors: list[torch.Tensor]) -> Arguments:
        """Write the arguments, then make the cache cold: nothing of them may lie in it."""
        needed_bytes = block_bytes(self._driver, tensors)
        if self._limited:
            self._make_room(needed_bytes)
        arguments = DeviceArgumentMemory(self._driver, tensors)
        self._transfer_bytes = needed_bytes
        self._mapped_bytes = needed_bytes if tensors else 0  # no tensors, nothing to map
        self._replies.poison()
        self._flush.flush()
        return arguments

    def _make_room(self, needed_bytes: int) -> None:
        """Let the next arguments come out of the ballast, and put the last ones back into it.

        Those that the box still maps never came back: they are taken from what it was left.

        Raises:
            Stopped: if it was not left as much.
        """
        left_bytes = self._driver.free_bytes() - self._transfer_bytes
        if left_bytes < 0:
            message = "it keeps more of the device's memory than was left to it"
            raise Stopped(Fault(kind=FaultKind.OUT_OF_MEMORY, message=message))
        self._transfer_bytes = 0
        self._reserved_memory.leave(left_bytes + needed_bytes)

    def _request(self, request: dict[str, Any], step: New | Call) -> Value:
        self._clocked_ns = self.wall_ns
        self._calling = True
        try:
            return super()._request(request, step)
        except DeviceError as error:
            raise Stopped(self._device_fault(error)) from error
        finally:
            self._calling = False

    def _freeze(self) -> None:
        """Copy the reply first, on the clock: a freeze stops no kernel."""
        begin_ns = time.perf_counter_ns()
        try:
            self._replies.snapshot()
        finally:
            self._settling_ns += time.perf_counter_ns() - begin_ns
            super()._freeze()
        self._see(self._driver.state())
        if self._memory_caps:
            # Limited, what is lent came out of the ballast; else out of what is free.
            free_bytes = self._driver.free_bytes() + (0 if self._limited else self._transfer_bytes)
            self._least_free_bytes = min(self._least_free_bytes, free_bytes)

    def _see(self, state: DeviceState) -> None:
        self._states = (self._states[0].joined(state) if self._states else state,)

    def _read(self, reply: dict[str, Any]) -> Value:
        if reply.get("device_lost") is True:  # of use to nobody but the next case: a fresh child
            self.alive = False
        if self._calling and "value" in reply:
            wall_ns = self.wall_ns - self._clocked_ns
            claim = reply.get("events_ns")  # a box that keeps silent has claimed no time
            events_ns = (claim,) if type(claim) is int and 0 <= claim < MOST_EVENTS_NS else ()
            self.timed.append(
                DeviceClaim(wall_ns=wall_ns, events_ns=events_ns, transfer_bytes=self._mapped_bytes)
            )
        return super()._read(reply)

    def _give_up(self, error: ChannelError | SandboxError) -> Fault:
        """Name the fault of a box that ended: not its own where the device is gone as well."""
        fault = super()._give_up(error)
        try:
            self._driver.synchronize()
            self._driver.state()
        except DeviceError as lost:
            return self._device_fault(lost)
        return fault

    def _device_fault(self, error: DeviceError) -> Fault:
        """Name the fault of a device that refused the judge.

        Under the lease nobody but the box can have taken memory that was free when it began.
        """
        self.alive = False
        if error.code == CUDA_ERROR_OUT_OF_MEMORY and not self._limited:
            with contextlib.suppress(DeviceError):
                if self._driver.free_bytes() < self._free_bytes // 2:
                    message = "it holds so much memory of the device that no input fits any more"
                    return Fault(kind=FaultKind.OUT_OF_MEMORY, message=message)
        return our_fault(error)


@contextlib.contextmanager
def open_device_session(
    sandbox: Sandbox,
    submission: Submission,
    *,
    limits: Limits,
    driver: DeviceDriver,
    denial: Denial = NO_DENIAL,
) -> Iterator[DeviceSession]:
    """Fork a child that computes on a device; end and sweep it when the block ends.

    Raises:
        SandboxError: if it cannot be confined.
        DeviceError: if the device has no room for its replies.
    """
    with contextlib.ExitStack() as stack:
        replies = DeviceReplyMemory(driver, limits.reply_bytes)
        stack.callback(replies.close)
        flush = stack.enter_context(CacheFlush(driver))
        child = stack.enter_context(_child_without_host_memory(sandbox, denial))
        session = DeviceSession(
            sandbox,
            child,
            submission=submission,
            limits=limits,
            driver=driver,
            reply_memory=replies,
            flush=flush,
        )
        stack.callback(session.close)
        yield session


@contextlib.contextmanager
def _child_without_host_memory(sandbox: Sandbox, denial: Denial) -> Iterator[ChildProcess]:
    """Fork a child; its memory file for replies is as small as can be, and is not used."""
    fd = make_memory_file(1)
    try:
        with sandbox.child(fd, denial) as child:
            yield child
    finally:
        os.close(fd)
