"""What a rank does when: its collectives, its backward passes, its gradients, on one clock.

Takes: `begin`, before a submission is imported. Gives: `take`: what was done since the last time.
Does not cover: bytes on the wire and time of a step, which are counted outside.

A submission can say all of this itself, or nothing: it serves to draw a picture, never a grade.
Ranks of one machine share the clock (`CLOCK_MONOTONIC`).
"""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d

MOST = 512
"""Entries of each kind that are kept."""

COLLECTIVES = (
    "all_gather",
    "all_gather_into_tensor",
    "all_reduce",
    "all_to_all",
    "all_to_all_single",
    "barrier",
    "broadcast",
    "gather",
    "irecv",
    "isend",
    "recv",
    "reduce",
    "reduce_scatter",
    "reduce_scatter_tensor",
    "scatter",
    "send",
)

Value = Any  # what a student's code takes and returns


class Recorder:
    """Keeps what a rank did, in the order in which it began.

    Attributes:
        collectives: name, bytes, when it was called, when the call came back, when it was complete
            (nanoseconds; the last one -1 if that is not known).
        gradients: when each one was complete, nanoseconds.
        backward: begin and end of each pass, nanoseconds.
        left_out: entries that found no room.
    """

    def __init__(self) -> None:
        self.collectives: list[list[Value]] = []
        self.gradients: list[int] = []
        self.backward: list[list[int]] = []
        self.left_out = 0

    def take(self) -> dict[str, Value]:
        """Return what was kept, and keep nothing of it."""
        submission = {
            "collectives": [list(entry) for entry in self.collectives],
            "gradients": list(self.gradients),
            "backward": [list(entry) for entry in self.backward],
            "left_out": self.left_out,
        }
        self.collectives, self.gradients, self.backward = [], [], []
        self.left_out = 0
        return submission

    def keep(self, entries: list[Value], entry: Value) -> None:
        """Keep an entry if there is room."""
        if len(entries) < MOST:
            entries.append(entry)
        else:
            self.left_out += 1

    def record(self, name: str, function: Callable[..., Value]) -> Callable[..., Value]:
        """Return a collective that is recorded."""

        @functools.wraps(function)
        def recorded(*args: Value, **kwargs: Value) -> Value:
            entry = [name, _nbytes((*args, *kwargs.values())), time.monotonic_ns(), -1, -1]
            self.keep(self.collectives, entry)
            work = function(*args, **kwargs)
            entry[3] = time.monotonic_ns()
            if work is None or name == "recv":
                entry[4] = entry[3]  # it came back when it was complete
            else:
                _tell_end(work, entry)
            return work

        return recorded

    def watch_backward(self, function: Callable[..., Value]) -> Callable[..., Value]:
        """Return `torch.autograd.backward`, recorded, with the gradients of leaves in it."""

        @functools.wraps(function)
        def recorded(tensors: Value, *args: Value, **kwargs: Value) -> Value:
            handles: list[Value] = []
            with contextlib.suppress(Exception):  # a picture less; the pass itself will complain
                handles = [node.register_prehook(self._on_gradient) for node in _leaves(tensors)]
            entry = [time.monotonic_ns(), -1]
            self.keep(self.backward, entry)
            try:
                return function(tensors, *args, **kwargs)
            finally:
                entry[1] = time.monotonic_ns()
                for handle in handles:
                    handle.remove()

        return recorded

    def _on_gradient(self, _: Value) -> None:
        self.keep(self.gradients, time.monotonic_ns())


def begin() -> Recorder:
    """Record from now on, under every name that a submission can import."""
    recorder = Recorder()
    for name in COLLECTIVES:
        recorded = recorder.record(name, getattr(dist, name))
        setattr(dist, name, recorded)
        setattr(distributed_c10d, name, recorded)
    torch.autograd.backward = recorder.watch_backward(torch.autograd.backward)
    return recorder


def _nbytes(args: tuple[Value, ...]) -> int:
    """Return the size of the largest argument: of a gather, what is gathered."""
    return max((sum(tensor.nbytes for tensor in _tensors(arg)) for arg in args), default=0)


def _tensors(value: Value) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)


def _tell_end(work: Value, entry: list[Value]) -> None:
    """Note when a collective that was only launched is complete, if its backend can tell."""

    def note(_: Value) -> None:
        entry[4] = time.monotonic_ns()

    with contextlib.suppress(RuntimeError, AttributeError):  # a single message has no future
        work.get_future().add_done_callback(note)


def _leaves(tensors: Value) -> list[Value]:
    """Return the nodes that accumulate the gradients of leaves."""
    roots = [tensors] if isinstance(tensors, torch.Tensor) else list(tensors)
    waiting = [tensor.grad_fn for tensor in roots if tensor.grad_fn is not None]
    seen = set(waiting)
    while waiting:
        for node, _ in waiting.pop().next_functions:
            if node is not None and node not in seen:
                seen.add(node)
                waiting.append(node)
    return [node for node in seen if hasattr(node, "variable")]
