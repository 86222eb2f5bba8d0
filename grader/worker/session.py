"""A worker with one submission loaded: the judge asks for steps of a case and reads the replies.

A session is put together from parts: the memory that carries tensors, and a clock. Those for the
processor are in this package, those for a GPU in `worker.cuda.session`. The worker runs only
between a request and its reply; at every other time it is frozen. The order of problems, and what
happens after a crash, are decided in `correctness.run`.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from grader.assignment.steps import Call, New, Ref, Value
from grader.assignment.table import Limits
from grader.errors import ChannelError, DeviceError, SandboxError
from grader.evidence.device import DeviceState
from grader.evidence.faults import (
    Fault,
    FaultKind,
    LoadFailure,
    Raised,
    Stopped,
    classify,
)
from grader.evidence.samples import DeviceClaim
from grader.intake.submission import SourceFile, Submission
from grader.runner.order import NO_DENIAL, Denial
from grader.sandbox.child_process import ChildProcess
from grader.sandbox.meter import Usage
from grader.sandbox.sandbox import Sandbox
from grader.worker.buffers import ReplyMemory, WorkerMemory
from grader.worker.channel import Channel
from grader.worker.messages import Json, Messages, load_request
from grader.worker.patience import CompileAllowance

EXIT_WAIT_SECONDS = 1.0


class WorkerClock:
    """Time that counts besides that from request to reply: none, for a worker on the processor.

    A device's clock replaces every method.

    Attributes:
        settling_ns: time after replies until the judge had its own copy of them, summed.
        compiles_kernels: whether Triton's kernels are compiled; on the processor, interpreted.
    """

    settling_ns = 0
    compiles_kernels = False

    def settle(self) -> None:
        """Wait until the reply is complete; the worker still runs."""

    def observe(self) -> None:
        """Note the state of the device; the worker has just been frozen."""

    def note_call(self, reply: dict[str, Json], wall_ns: int) -> None:
        """Note what the reply to a call claims about its own time, and what the judge measured."""

    def claims(self) -> tuple[DeviceClaim, ...]:
        """Return what the worker claims about its calls on a device, oldest first."""
        return ()

    def states(self) -> tuple[DeviceState, ...]:
        """Return the device's state since the last time, combined into one; none without one."""
        return ()


class Session:
    """One worker with the submission loaded.

    Attributes:
        alive: whether the worker can be asked again.
        load_ns: time in which the submission was imported, counted as `charged_ns`.
    """

    sliced = False
    """Whether it came to load fewer statements by itself; only a process group does."""

    def __init__(
        self,
        sandbox: Sandbox,
        child: ChildProcess,
        *,
        submission: Submission,
        limits: Limits,
        memory: WorkerMemory,
        clock: WorkerClock,
    ) -> None:
        self._sandbox = sandbox
        self._child = child
        self._submission = submission
        self._limits = limits
        self._memory = memory
        self._clock = clock
        self._messages = Messages(submission, memory, limits.reply_bytes)
        self._channel = Channel(child, limits.output_bytes)
        self._first_ref = 0
        self._next_ref = 0
        self._load_wall_ns = 0
        self.load_ns = 0
        self._lost_ns = 0
        self._spared_ns = 0
        compiles = submission.compiles(on_device=clock.compiles_kernels)
        self._allowance = CompileAllowance(limits, compiles=compiles)
        self._frozen = False
        self.alive = True

    @property
    def wall_ns(self) -> int:
        """Time from request to the judge's copy of the reply, over all calls, without loading."""
        return self._channel.wall_ns + self._clock.settling_ns - self._load_wall_ns

    @property
    def charged_ns(self) -> int:
        """The part of `wall_ns` that counts towards a limit: not what others or compilers took."""
        return max(self.wall_ns - self._lost_ns - self._spared_ns, 0)

    def load(self, harness: Sequence[SourceFile] = ()) -> None:
        """Import the submission; a statement of it that raises is one of the `failures`.

        Raises:
            Raised: the import raised.
            Stopped: the worker ended or did not reply in time.
            SandboxError: the worker cannot use the device; it holds nothing of the submission yet.
        """
        self._begin()
        self._ask(
            load_request(self._submission, harness),
            limit_s=self._limits.load_wall_s,
            on_reply=self._messages.note_load,
        )
        self.load_ns = self.charged_ns
        self._load_wall_ns += self.wall_ns
        self._lost_ns = self._spared_ns = 0

    @property
    def failures(self) -> tuple[LoadFailure, ...]:
        """Statements of the submission that raised when it was loaded; the others ran."""
        return self._messages.failures

    def new(self, ref: Ref, step: New) -> None:
        """Make an object and remember it as `ref`."""
        self._next_ref = max(self._next_ref, self._first_ref + ref.id + 1)
        self._request(step, new_ref=self._first_ref + ref.id)

    def call(self, step: Call) -> Value:
        """Call a function or method and return its reply, copied out of the worker's memory."""
        return self._request(step)

    def drop(self, ref: Ref) -> None:
        """Forget an object."""
        self._drop([self._first_ref + ref.id])

    def ask(self, operation: str, fields: dict[str, Any] | None = None) -> Value:
        """Ask for something other than a step: `find` names, `build` a library, list `kernels`.

        Raises:
            Raised, Stopped: the worker could not, ended, or did not reply in time.
        """
        return self._ask({"op": operation, **(fields or {})}, limit_s=self._limits.call_wall_s)

    def overwrite_arguments(self) -> None:
        """Overwrite the tensors of the last call; the worker is frozen."""
        self._messages.overwrite_arguments()

    def reclaim_arguments(self) -> None:
        """Take the memory of the last call's tensors back; the worker is frozen."""
        self._messages.reclaim_arguments()

    def usage(self) -> Usage:
        """Return what the worker has used since its fork; on a device, of the device's memory.

        Raises:
            SandboxError: if Linux does not tell.
        """
        return self._memory.counted(self._child.meter.read())

    @property
    def metered(self) -> bool:
        """Whether processor time and memory of the worker are counted."""
        return self._child.meter.counts

    @property
    def oom_kills(self) -> int:
        """Processes of the worker that Linux ended because memory ran out."""
        return self._child.meter.oom_kills()

    def rank_peaks(self) -> tuple[int, ...]:
        """Return nothing: the worker is not a process group."""
        return ()

    def claims(self) -> tuple[DeviceClaim, ...]:
        """Return what the worker claims about its calls on a device, oldest first."""
        return self._clock.claims()

    def device_states(self) -> tuple[DeviceState, ...]:
        """Return the device's state since the last time, combined into one; none without one."""
        return self._clock.states()

    def limit_memory(self, limit_bytes: int) -> int:
        """Leave the worker at most `limit_bytes` more of the device's memory; return what is left.

        Raises:
            DeviceError: if there is no device, or it refuses.
        """
        self._begin()
        return self._memory.limit(limit_bytes)

    def release(self) -> None:
        """Lift the limit of the device's memory.

        Raises:
            DeviceError: if the device refuses.
        """
        self._memory.release()

    def end_case(self) -> None:
        """Forget the objects of the case that has ended; the next one counts from 0 again."""
        refs = list(range(self._first_ref, self._next_ref))
        self._first_ref = self._next_ref
        if refs and self.alive:
            with contextlib.suppress(Raised, Stopped):  # a failing __del__ is no part of the case
                self._drop(refs)

    def take_output(self) -> str:
        """Return what the submission printed since the last time, at most `output_bytes` of it."""
        return self._channel.take_output()

    def close(self) -> None:
        """Release the judge's ends and memory; the sandbox ends the worker."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._memory.release)
            stack.callback(self._channel.close)
            stack.callback(self._messages.close)

    def _begin(self) -> None:
        ask = functools.partial(self._ask, limit_s=self._limits.load_wall_s)
        self._memory.begin(ask, self.take_output)

    def _drop(self, refs: list[int]) -> None:
        self._ask({"op": "drop", "refs": refs}, limit_s=self._limits.call_wall_s)

    def _request(self, step: New | Call, *, new_ref: int = 0) -> Value:
        begin_ns = self.wall_ns
        try:
            request, fds = self._messages.encode(step, first_ref=self._first_ref, new_ref=new_ref)
            value = self._ask(
                request,
                fds,
                limit_s=self._limits.call_wall_s,
                on_reply=lambda reply: self._clock.note_call(reply, self.wall_ns - begin_ns),
            )
            self._messages.refuse_changed(step)
        except DeviceError as error:
            self.alive = False
            raise Stopped(self._memory.fault_of(error)) from error
        return value

    def _ask(
        self,
        request: dict[str, Json],
        fds: tuple[int, ...] = (),
        *,
        limit_s: float,
        on_reply: Callable[[dict[str, Json]], None] = lambda reply: None,
    ) -> Value:
        """Send a request and return the value of its reply; only the reply's bytes are used."""
        begin_ns, patience_s = self.charged_ns, limit_s + self._allowance.left_s
        try:
            reply = self._channel.ask(request, fds=fds, limit_s=patience_s, start=self._thaw)
            self._freeze()
            self.alive = self.alive and self._memory.is_usable_after(reply)
            on_reply(reply)
            return self._messages.decode(reply)
        except (ChannelError, SandboxError) as error:
            raise Stopped(self._give_up(error)) from error
        finally:
            self._lost_ns += self._channel.lost_ns()
            self._spared_ns += self._allowance.spend(self.charged_ns - begin_ns, limit_s)

    def _thaw(self) -> None:
        if self._frozen:
            self._sandbox.thaw()
            self._frozen = False

    def _freeze(self) -> None:
        try:
            self._clock.settle()
        finally:
            self._sandbox.freeze()
            self._frozen = True
        self._clock.observe()
        self._memory.observe()

    def _give_up(self, error: ChannelError | SandboxError) -> Fault:
        """Return the fault of a worker that ended; not its own where the device failed as well."""
        self.alive = False
        with contextlib.suppress(SandboxError):
            self._thaw()
        ended = not isinstance(error, SandboxError)
        ending = self._sandbox.ending(self._child, EXIT_WAIT_SECONDS if ended else 0.0)
        kind, message = classify(error, ending)
        if kind is FaultKind.TIMEOUT:
            message += self._allowance.note
        try:
            self._memory.check()
        except DeviceError as failure:
            return self._memory.fault_of(failure)
        return Fault(kind=kind, message=message)


@contextlib.contextmanager
def open_session(
    sandbox: Sandbox, submission: Submission, *, limits: Limits, denial: Denial = NO_DENIAL
) -> Iterator[Session]:
    """Fork a worker on the processor for a submission; end it when the block ends.

    Raises:
        SandboxError: if it cannot be confined.
    """
    with (
        contextlib.closing(ReplyMemory(limits.reply_bytes)) as replies,
        sandbox.child(replies.fd, denial) as child,
        contextlib.closing(
            Session(
                sandbox,
                child,
                submission=submission,
                limits=limits,
                memory=WorkerMemory(replies),
                clock=WorkerClock(),
            )
        ) as session,
    ):
        yield session
