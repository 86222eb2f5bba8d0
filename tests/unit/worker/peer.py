"""A child's end of a channel, played by a thread."""

import contextlib
import os
import socket
import struct
import threading
from types import SimpleNamespace

from grader.runner import protocol
from grader.sandbox.meter import Meter
from grader.worker.channel import Channel

LIMIT_S = 5.0


class Peer:
    """The child's end, played by a thread."""

    def __init__(self, output_bytes=1000):
        judge_end, self.sock = socket.socketpair()
        read_fd, self.write_fd = os.pipe()
        self.exit_read, self.exit_write = os.pipe()
        child = SimpleNamespace(
            channel=judge_end,
            output_fd=read_fd,
            exit_fd=self.exit_read,
            meter=Meter(None, os.getpid()),
        )
        self.channel = Channel(child, output_bytes)  # type: ignore[arg-type]
        self.threads = []

    def play(self, act):
        def run():
            with contextlib.suppress(OSError, protocol.ProtocolError):
                act(self)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self.threads.append(thread)

    def ask(self, limit_s=LIMIT_S, **request):
        return self.channel.ask(request, fds=(), limit_s=limit_s, start=lambda: None)

    def capture(self):
        return protocol.receive(self.sock)[0]

    def say(self, body):
        self.sock.sendall(struct.pack(">I", len(body)) + body)

    def close(self):
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)  # wakes the threads that listen
        self.sock.close()
        for thread in self.threads:
            thread.join(5)
        self.channel.close()
        for fd in (self.write_fd, self.exit_read, self.exit_write):
            with contextlib.suppress(OSError):
                os.close(fd)
