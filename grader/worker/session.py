"""A box on the far side of a wall: cases ask, the child answers, the judge reads bytes.

Takes: a wall and a submission. Gives: `Session`, which `correctness.drive` runs cases in. Does not
cover: the order of problems and what happens after a crash (see `correctness.run`).
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from grader.assignment.steps import Call, New, Ref, Value
from grader.assignment.table import Limits
from grader.errors import ChannelError, DeviceError, SandboxError
from grader.evidence.device import DeviceState
from grader.evidence.faults import Fault, FaultKind, Raised, Stopped, classify
from grader.evidence.samples import DeviceClaim
from grader.intake.submission import SourceFile, Submission
from grader.runner import protocol
from grader.runner.order import NO_DENIAL, Denial
from grader.runner.tensors import DTYPES
from grader.sandbox.child_process import ChildProcess
from grader.sandbox.meter import Usage
from grader.sandbox.sandbox import Sandbox
from grader.worker.buffers import ArgumentMemory, Arguments, Replies, ReplyMemory
from grader.worker.channel import Channel
from grader.worker.requests import (
    arguments_of,
    call_request,
    load_request,
    location_of,
    new_request,
)


class WithoutDevice:
    """There is no device to ask about, and no group."""

    def rank_peaks(self) -> tuple[int, ...]:
        """Return the most memory that each rank held; none without a group."""
        return ()

    def claims(self) -> tuple[DeviceClaim, ...]:
        """Return what the box claims of its calls on a device, oldest first."""
        return ()

    def device_states(self) -> tuple[DeviceState, ...]:
        """Return how the device ran since this was last asked, as one state; none without one."""
        return ()

    def limit_memory(self, limit_bytes: int) -> int:
        """Leave at most `limit_bytes` of the device's memory to what is loaded next.

        Returns:
            the bytes that are left.

        Raises:
            DeviceError: if there is no device, or it refuses.
        """
        raise DeviceError(f"no device whose memory could be limited to {limit_bytes} bytes")

    def release(self) -> None:
        """Let the box have all that the device has, from here on.

        Raises:
            DeviceError: if the device refuses.
        """


MAX_TEXT = 2000
MAX_CLASSES = 20
MAX_TENSORS = 4096
EXIT_WAIT_SECONDS = 1.0


class Session(WithoutDevice):
    """One child with the submission loaded.

    Attributes:
        alive: whether the child can be asked again.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        child: ChildProcess,
        *,
        submission: Submission,
        limits: Limits,
        reply_memory: Replies,
        make_arguments: Callable[[list[torch.Tensor]], Arguments] = ArgumentMemory,
    ) -> None:
        self._sandbox_handle = sandbox
        self._child = child
        self._submission = submission
        self._limits = limits
        self._reply_memory = reply_memory
        self._make_arguments = make_arguments
        self._channel = Channel(
            child.channel,
            output_fd=child.output_fd,
            exit_fd=child.exit_fd,
            output_bytes=limits.output_bytes,
        )
        self._arguments: Arguments | None = None
        self._first_ref = 0
        self._next_ref = 0
        self._load_wall_ns = 0
        self._frozen = False
        self.alive = True

    @property
    def wall_ns(self) -> int:
        """Time from request to reply of all calls so far, loading left out."""
        return self._channel.wall_ns - self._load_wall_ns

    def load(self, harness: Sequence[SourceFile] = ()) -> None:
        """Import the submission.

        Raises:
            Raised: the import raised.
            Stopped: the child ended or stayed silent.
        """
        self._ask(load_request(self._submission, harness), limit_s=self._limits.load_wall_s)
        self._load_wall_ns = self._channel.wall_ns

    def new(self, ref: Ref, step: New) -> None:
        """Make an object and remember it as `ref`."""
        self._next_ref = max(self._next_ref, self._first_ref + ref.id + 1)
        self._request(new_request(self._first_ref + ref.id, step), step)

    def call(self, step: Call) -> Value:
        """Call a function or method and return its reply, copied out of the box."""
        return self._request(call_request(self._first_ref, step), step)

    def drop(self, ref: Ref) -> None:
        """Forget an object."""
        self._ask(
            {"op": "drop", "refs": [self._first_ref + ref.id]}, limit_s=self._limits.call_wall_s
        )

    def ask(self, operation: str, fields: dict[str, Any] | None = None) -> Value:
        """Ask for something besides: `find` names, `build` a library, tell of `kernels`.

        Raises:
            Raised, Stopped: the box could not, ended, or stayed silent too long.
        """
        return self._ask({"op": operation, **(fields or {})}, limit_s=self._limits.call_wall_s)

    def overwrite_arguments(self) -> None:
        """Overwrite the tensors of the last call; the box is frozen meanwhile."""
        if self._arguments is not None:
            self._arguments.overwrite()

    def reclaim_arguments(self) -> None:
        """Take the memory of the last call's tensors back; the box is frozen meanwhile."""
        if self._arguments is not None:
            self._arguments.reclaim()

    def usage(self) -> Usage:
        """Return what the child has used since its fork.

        Raises:
            SandboxError: if the kernel does not tell.
        """
        return self._child.meter.read()

    @property
    def metered(self) -> bool:
        """Whether processor time and memory of the child are counted."""
        return self._child.meter.counts

    @property
    def oom_kills(self) -> int:
        """Processes of the child that the kernel ended for want of memory."""
        return self._child.meter.oom_kills()

    def end_case(self) -> None:
        """Forget the objects of the case that has ended; the next one counts from 0 again."""
        refs = list(range(self._first_ref, self._next_ref))
        self._first_ref = self._next_ref
        if refs and self.alive:
            with contextlib.suppress(Raised, Stopped):  # a failing __del__ is no part of the case
                self._ask({"op": "drop", "refs": refs}, limit_s=self._limits.call_wall_s)

    def take_output(self) -> str:
        """Return what the submission printed since the last time, capped."""
        return self._channel.take_output()

    def close(self) -> None:
        """Let go of the judge's ends; the wall ends the child."""
        arguments, self._arguments = self._arguments, None
        try:
            if arguments is not None:
                arguments.close()
        finally:
            self._channel.close()

    def _request(self, request: dict[str, Any], step: New | Call) -> Value:
        packed, fds = self._pack(request, step)
        value = self._ask(packed, limit_s=self._limits.call_wall_s, fds=fds)
        self._refuse_changed(step)
        return value

    def _pack(
        self, request: dict[str, Any], step: New | Call
    ) -> tuple[dict[str, Any], tuple[int, ...]]:
        """Return the request with its arguments, and the descriptor of their tensors."""
        arguments, tensors = arguments_of(self._first_ref, step)
        if self._arguments is not None:
            self._arguments.close()
        self._arguments = None
        self._arguments = self._make_arguments(tensors)
        headers = [header.to_json() for header in self._arguments.headers]
        fds = (self._arguments.fd,) if headers else ()
        return {**request, **arguments, "tensors": headers}, fds

    def _refuse_changed(self, step: New | Call) -> None:
        """Raise if the last call changed an input; the box is frozen."""
        if self._arguments is not None and not self._arguments.unchanged():
            name = getattr(step, "method", "") or getattr(step, "target", "") or step.args
            message = f"{name} changed one of its input tensors"
            raise Stopped(Fault(kind=FaultKind.INPUT_CHANGED, message=message))

    def _ask(
        self,
        request: dict[str, Any],
        *,
        limit_s: float,
        fds: tuple[int, ...] = (),
    ) -> Value:
        """Send a request and believe nothing but the bytes that come back."""
        try:
            reply = self._channel.ask(request, fds=fds, limit_s=limit_s, start=self._thaw)
            self._freeze()
            return self._read(reply)
        except (ChannelError, SandboxError) as error:
            raise Stopped(self._give_up(error)) from error

    def _thaw(self) -> None:
        if self._frozen:
            self._sandbox_handle.thaw()
            self._frozen = False

    def _freeze(self) -> None:
        self._sandbox_handle.freeze()
        self._frozen = True

    def _read(self, reply: dict[str, Any]) -> Value:
        """Return the value of a reply, or raise what it reports.

        Raises:
            Raised: the submission raised.
            Stopped: a name is missing, or the reply cannot travel.
            ChannelError: the reply is broken.
        """
        if "missing" in reply:
            message = "a name that the problem needs is not defined"
            detail = _text(reply["missing"])
            raise Stopped(Fault(kind=FaultKind.MISSING, message=message, detail=detail))
        if "bad_reply" in reply:
            message = "it returned something that cannot leave the box"
            detail = _text(reply["bad_reply"])
            raise Stopped(Fault(kind=FaultKind.BAD_REPLY, message=message, detail=detail))
        if "raised" in reply:
            raise self._read_exception(reply["raised"])
        headers = reply.get("tensors")
        if "value" not in reply or not isinstance(headers, list) or len(headers) > MAX_TENSORS:
            raise ChannelError("a reply without a value, or with too many tensors")
        unread = dict(enumerate(headers))
        room = self._limits.reply_bytes

        def leaf(key: str, content: Any) -> Value:  # noqa: ANN401 - what the box claims
            nonlocal room
            # Each tensor once, and all together no more than fit: a few bytes of JSON that name
            # one large tensor thousands of times must not fill the judge's memory.
            if key == "t" and type(content) is int and content in unread:
                tensor = self._reply_memory.read(unread.pop(content), room)
                room -= tensor.nbytes
                return tensor
            if key == "y" and isinstance(content, str) and content in DTYPES:
                return DTYPES[content]
            raise ChannelError("a reply of no known form")

        try:
            return protocol.unflatten(reply["value"], leaf)
        except protocol.ProtocolError as error:
            raise ChannelError(str(error)) from error

    def _read_exception(self, form: Any) -> Raised:  # noqa: ANN401 - what the box claims
        if not isinstance(form, dict):
            raise ChannelError("an exception of no known form")
        names = form.get("names")
        if not isinstance(names, list) or not names:
            raise ChannelError("an exception without a class")
        classes = tuple(_text(name) for name in names[:MAX_CLASSES])
        location = location_of(self._submission, form.get("frames"))
        return Raised(classes, _text(form.get("text", "")), location)

    def _give_up(self, error: ChannelError | SandboxError) -> Fault:
        self.alive = False
        with contextlib.suppress(SandboxError):
            self._thaw()
        ended = not isinstance(error, SandboxError)
        ending = self._sandbox_handle.ending(self._child, EXIT_WAIT_SECONDS if ended else 0.0)
        kind, message = classify(error, ending)
        return Fault(kind=kind, message=message)


def _text(value: Any) -> str:  # noqa: ANN401 - what the box claims to be a text
    return value[:MAX_TEXT] if isinstance(value, str) else "(not a text)"


@contextlib.contextmanager
def open_session(
    sandbox: Sandbox, submission: Submission, *, limits: Limits, denial: Denial = NO_DENIAL
) -> Iterator[Session]:
    """Fork a child for a submission; end and sweep it when the block ends.

    Raises:
        SandboxError: if it cannot be confined.
    """
    reply_memory = ReplyMemory(limits.reply_bytes)
    try:
        with sandbox.child(reply_memory.fd, denial) as child:
            session = Session(
                sandbox, child, submission=submission, limits=limits, reply_memory=reply_memory
            )
            try:
                yield session
            finally:
                session.close()
    finally:
        reply_memory.close()
