"""Sends one request to a worker and waits for its one reply, on the judge's clock.

What the submission prints is drained meanwhile, so that a full pipe stops nobody. What a request
means is in `worker.messages`.
"""

import contextlib
import os
import secrets
import selectors
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from grader.errors import CallTimeout, ChannelClosed, ChannelError
from grader.runner import protocol
from grader.sandbox.child_process import ChildProcess
from grader.worker.patience import Deadline

_HEAD_BYTES = 4
_CHUNK_BYTES = 1 << 16
_UNREAD_BYTES = 1 << 15
"""Bytes that always fit into a socket whose other end does not read (the default is 208 KiB)."""
_DRAIN_CHUNKS = 64
"""Chunks of output read at a time, so that a flood of output cannot keep the judge busy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """A request, ready to be sent; its reply must repeat `sequence`."""

    sequence: str
    frame: bytes

    @property
    def large(self) -> bool:
        """Whether it may be too large for a socket whose other end is frozen."""
        return len(self.frame) > _UNREAD_BYTES


class Channel:
    """The judge's end of one child's socket, its output pipe and its pidfd.

    Attributes:
        wall_ns: time from request to reply, summed, on the judge's clock.
    """

    def __init__(self, child: ChildProcess, output_bytes: int) -> None:
        self._sock = child.channel
        self._meters = (child.meter,)
        self._output_fd = child.output_fd
        self._output_limit = output_bytes
        self._output = bytearray()
        self._dropped_bytes = 0
        self._buffer = bytearray()
        self.wall_ns = 0
        self._deadline = Deadline(0.0, (), 0.0)  # of the last request
        self._sock.setblocking(False)
        os.set_blocking(self._output_fd, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._sock, selectors.EVENT_READ, "reply")
        self._selector.register(self._output_fd, selectors.EVENT_READ, "output")
        if child.exit_fd >= 0:
            self._selector.register(child.exit_fd, selectors.EVENT_READ, "exit")

    def ask(
        self,
        request: dict[str, Any],
        *,
        fds: tuple[int, ...],
        limit_s: float,
        start: Callable[[], None],
    ) -> dict[str, Any]:
        """Send a request, let the worker run by calling `start`, and return its reply.

        The clock runs from just before `start` to the last byte of the reply. The request is in the
        worker's socket by then, unless it is too large.

        Raises:
            CallTimeout: no reply within `limit_s` seconds of a processor's time (`patience`);
                `MachineBusy` if others had the processors.
            ChannelClosed: the child ended first.
            ChannelError: the bytes that came are not a reply to this request.
        """
        self._deadline = Deadline(0.0, (), 0.0)
        composed = self.compose(request)
        begin_ns = time.perf_counter_ns()
        if composed.large:  # a frozen worker would never read it
            start()
        self.post(composed, fds=fds, limit_s=limit_s)
        if not composed.large:
            begin_ns = time.perf_counter_ns()
            start()
        self._deadline = Deadline(limit_s, self._meters, begin_ns / 1e9)
        try:
            reply = self.receive(self._deadline)
        finally:
            self.wall_ns += time.perf_counter_ns() - begin_ns
        return self.check(composed, reply)

    def lost_ns(self) -> int:
        """Return the part of the last request's time in which others had the processors."""
        return self._deadline.lost_ns()

    def compose(self, request: dict[str, Any]) -> Composed:
        """Return a request, ready to be sent.

        Raises:
            ChannelError: if it is too long, or the worker has sent something without a request.
        """
        if self._buffer or self._read_some():
            raise ChannelError("something was sent without a request")
        sequence = secrets.token_hex(8)
        try:
            frame = protocol.frame_of({"seq": sequence, **request})
        except protocol.ProtocolError as error:
            raise ChannelError(f"the request cannot be sent: {error}") from error
        return Composed(sequence=sequence, frame=frame)

    def post(self, composed: Composed, *, fds: tuple[int, ...], limit_s: float) -> None:
        """Put a request into the worker's socket.

        Raises:
            CallTimeout: it did not fit within `limit_s` seconds.
            ChannelClosed: the child has ended.
        """
        self._sock.settimeout(limit_s)
        try:
            protocol.send_frame(self._sock, composed.frame, fds)
        except TimeoutError as error:
            raise CallTimeout("the request was not read within the limit") from error
        except OSError as error:
            raise ChannelClosed("the submission's process has ended") from error
        finally:
            self._sock.setblocking(False)

    def check(self, composed: Composed, reply: dict[str, Any]) -> dict[str, Any]:
        """Return a reply if it is one to that request.

        Raises:
            ChannelError: if it is not.
        """
        if reply.pop("seq", None) != composed.sequence:
            raise ChannelError("a reply to another request")
        return reply

    def receive(self, deadline: Deadline) -> dict[str, Any]:
        """Return the next message.

        Raises:
            CallTimeout, ChannelClosed, ChannelError: as for `ask`.
        """
        while True:
            wait_s = deadline.wait_s()
            message = self.poll(wait_s)
            if message is not None:
                return message
            if not wait_s:
                raise deadline.error()

    def fileno(self) -> int:
        """Return a descriptor that is readable when `poll` has something to read."""
        return self._selector.fileno()

    def poll(self, seconds: float = 0.0) -> dict[str, Any] | None:
        """Read what comes within so many seconds; return a message if it is complete.

        Raises:
            ChannelClosed: the child has ended, without a complete message.
            ChannelError: what came is not a message.
        """
        message = self._take_message()
        if message is not None:
            return message
        ended = False
        for key, _ in self._selector.select(seconds):
            if key.data == "output":
                self._drain()
            else:
                self._read_some()
                ended = ended or key.data == "exit"
        message = self._take_message()
        if message is None and ended:
            raise ChannelClosed("the submission's process has ended")
        return message

    def take_output(self) -> str:
        """Return what the submission printed since the last time, up to the limit."""
        self._drain()
        text = self._output.decode("utf-8", errors="replace")
        if self._dropped_bytes:
            text += f"\n[{self._dropped_bytes} bytes dropped]\n"
        self._output_limit -= len(self._output)
        self._output.clear()
        self._dropped_bytes = 0
        return text

    def close(self) -> None:
        """Close the judge's ends."""
        self._selector.close()
        self._sock.close()
        os.close(self._output_fd)

    def _read_some(self) -> bool:
        """Move what has arrived into the buffer; return whether there was anything."""
        try:
            part = self._sock.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return False
        except ConnectionError as error:
            raise ChannelClosed("the submission's process has ended") from error
        if not part:
            if not self._buffer:
                raise ChannelClosed("the submission's process has ended")
            raise ChannelError("the channel was closed in the middle of a message")
        self._buffer += part
        return True

    def _take_message(self) -> dict[str, Any] | None:
        if len(self._buffer) < _HEAD_BYTES:
            return None
        try:
            length = protocol.check_length(int.from_bytes(self._buffer[:_HEAD_BYTES], "big"))
            if len(self._buffer) < _HEAD_BYTES + length:
                return None
            body = bytes(self._buffer[_HEAD_BYTES : _HEAD_BYTES + length])
            del self._buffer[: _HEAD_BYTES + length]
            return protocol.parse(body)
        except protocol.ProtocolError as error:
            raise ChannelError(f"a broken message: {error}") from error

    def _drain(self) -> None:
        """Read printed bytes from the pipe, and keep the first `output_bytes` of them."""
        with contextlib.suppress(BlockingIOError):
            for _ in range(_DRAIN_CHUNKS):
                part = os.read(self._output_fd, _CHUNK_BYTES)
                if not part:  # every writer has closed it
                    if self._output_fd in self._selector.get_map():
                        self._selector.unregister(self._output_fd)
                    return
                left = max(self._output_limit - len(self._output), 0)
                self._output += part[:left]
                self._dropped_bytes += max(len(part) - left, 0)
