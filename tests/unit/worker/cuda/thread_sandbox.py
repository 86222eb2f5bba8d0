"""Sandboxes whose children are threads of this process, on a device made of memory files.

A submission that computes on this device tells what it allocates there by calling `take`; its
memory is freed when its worker ends, as a driver does. Confinement and time are not played.
"""

import contextlib
import os
import socket
import sys
import threading
import time
from types import SimpleNamespace

import torch

from grader.evidence.faults import Ending
from grader.runner.cuda import memory as device_memory
from grader.runner.cuda import worker as cuda_worker
from grader.runner.order import NO_DENIAL
from grader.runner.tensors import map_memory
from grader.sandbox.meter import Usage
from tests.unit.worker.cuda.fake_driver import FakeDriver

TAKEN: list[int] = []
"""Bytes of the device that the worker which runs now has taken."""
SEEN: list[float] = []
"""What submissions say that they were given."""
DEVICES: list[FakeDriver] = []
"""The device; the last one counts."""


def take(size_bytes):
    """Allocate memory of the device, in the worker; negative: give it back."""
    if size_bytes > DEVICES[-1].free_bytes():
        raise torch.OutOfMemoryError("CUDA out of memory")
    DEVICES[-1].hold(size_bytes)
    TAKEN.append(size_bytes)


class Events:
    """Stands for CUDA events: the time between them on this process's clock."""

    def __init__(self):
        self.events_ns: object = 0

    def __enter__(self):
        self._begin_ns = time.perf_counter_ns()
        return self

    def __exit__(self, *_):
        self.events_ns = time.perf_counter_ns() - self._begin_ns


def pretend(monkeypatch, events=Events):
    """Let children in this process find memory files where CUDA would be."""
    monkeypatch.setattr(
        device_memory, "open_block", lambda fd, size: map_memory(fd, populate=False)
    )
    monkeypatch.setattr(device_memory, "EventClock", events)
    monkeypatch.setattr(device_memory, "is_usable", lambda: True)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


class ThreadSandbox:
    """A sandbox whose child is a thread of this process."""

    layers = ("none",)

    def __init__(self, homes, modules=()):
        self._homes = homes
        self._modules = modules

    def freeze(self):
        pass

    def thaw(self):
        pass

    def ending(self, child, wait_s):
        return Ending(sandbox_alive=True, exited=True, status=0, oom_kills=0)

    @contextlib.contextmanager
    def child(self, fd, denial=NO_DENIAL):
        for name in self._modules:
            sys.modules.pop(name, None)
        home = self._homes / str(len(list(self._homes.iterdir())))
        home.mkdir()
        ours, theirs = socket.socketpair()
        output, output_theirs = os.pipe()
        served = cuda_worker.CudaWorkerProcess(
            channel=theirs, reply_memory=map_memory(fd, populate=False), home=str(home)
        )
        thread = threading.Thread(target=served.serve, daemon=True)
        thread.start()
        before = len(TAKEN)
        meter = SimpleNamespace(
            counts=True, read=lambda: Usage(cpu_ns=0, peak_bytes=0, traffic_bytes=0)
        )
        try:
            yield SimpleNamespace(channel=ours, output_fd=output, exit_fd=-1, meter=meter)
        finally:
            thread.join(5)
            for size_bytes in TAKEN[before:]:
                DEVICES[-1].hold(-size_bytes)
            del TAKEN[before:]
            theirs.close()
            os.close(output_theirs)


class ThreadSandboxes:
    """Lends such sandboxes as a pool does."""

    sandbox = "none"
    isolation = "warm"
    caveats = ()

    def __init__(self, homes, modules):
        self._sandboxes = (ThreadSandbox(homes, modules), ThreadSandbox(homes, modules))

    @contextlib.contextmanager
    def borrow(self):
        yield self._sandboxes[0]

    @contextlib.contextmanager
    def borrow_pair(self):
        yield self._sandboxes
