"""Records when a rank called collectives, ran backward passes and completed gradients.

`begin` must be called before a submission is imported. The ranks of one machine share the clock
(`CLOCK_MONOTONIC`). A submission could fake or suppress these records, so they serve for a chart
and never for a grade. Network traffic and the time of a step are measured from outside.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d

MAX_ENTRIES = 512
"""Per kind; later ones are only counted."""

COLLECTIVES = (
    "all_gather all_gather_into_tensor all_reduce all_to_all all_to_all_single barrier broadcast "
    "gather irecv isend recv reduce reduce_scatter reduce_scatter_tensor scatter send"
).split()

Value = Any  # what a student's code takes and returns


class Recorder:
    """Keeps what a rank did, in order of begin.

    Attributes:
        collectives: name, bytes, and the times (ns) when it was called, when the call returned, and
            when it was complete (-1 if unknown).
        gradients: when each one was complete, ns.
        backward: begin and end of each pass, ns.
        left_out: number of entries that were dropped.
    """

    def __init__(self) -> None:
        self.collectives: list[list[Value]] = []
        self.gradients: list[int] = []
        self.backward: list[list[int]] = []
        self.left_out = 0

    def take(self) -> dict[str, Value]:
        """Return the records since the last call, and clear them."""
        taken = {
            "collectives": [list(entry) for entry in self.collectives],
            "gradients": list(self.gradients),
            "backward": [list(entry) for entry in self.backward],
            "left_out": self.left_out,
        }
        self.collectives, self.gradients, self.backward = [], [], []
        self.left_out = 0
        return taken

    def keep(self, entries: list[Value], entry: Value) -> None:
        """Add an entry, or count it if there are `MAX_ENTRIES` already."""
        if len(entries) < MAX_ENTRIES:
            entries.append(entry)
        else:
            self.left_out += 1

    def record(self, name: str, function: Callable[..., Value]) -> Callable[..., Value]:
        """Return a collective that records its calls."""

        @functools.wraps(function)
        def recorded(*args: Value, **kwargs: Value) -> Value:
            entry = [name, _nbytes((*args, *kwargs.values())), time.monotonic_ns(), -1, -1]
            self.keep(self.collectives, entry)
            work = function(*args, **kwargs)
            entry[3] = time.monotonic_ns()
            if work is None or name == "recv":
                entry[4] = entry[3]  # a blocking call
            else:
                _record_end(work, entry)
            return work

        return recorded

    def watch_backward(self, function: Callable[..., Value]) -> Callable[..., Value]:
        """Return a backward function that records its passes and the gradients of leaves."""

        @functools.wraps(function)
        def recorded(tensors: Value, *args: Value, **kwargs: Value) -> Value:
            handles: list[Value] = []
            with contextlib.suppress(Exception):  # the pass raises its own error
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
    """Record from now on, under all names by which a submission can import the functions."""
    recorder = Recorder()
    for name in COLLECTIVES:
        recorded = recorder.record(name, getattr(dist, name))
        setattr(dist, name, recorded)
        setattr(distributed_c10d, name, recorded)
    torch.autograd.backward = recorder.watch_backward(torch.autograd.backward)
    return recorder


def _nbytes(args: tuple[Value, ...]) -> int:
    """Return the bytes of the largest argument: for a gather, the list that is gathered."""
    return max((sum(tensor.nbytes for tensor in _tensors(arg)) for arg in args), default=0)


def _tensors(value: Value) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)


def _record_end(work: Value, entry: list[Value]) -> None:
    """Record when an asynchronous collective is complete, if its backend can tell."""

    def record(_: Value) -> None:
        entry[4] = time.monotonic_ns()

    with contextlib.suppress(RuntimeError, AttributeError):  # send and recv have no future
        work.get_future().add_done_callback(record)


def _leaves(tensors: Value) -> list[Value]:
    """Return the nodes that accumulate the gradients of leaves."""
    roots = [tensors] if isinstance(tensors, torch.Tensor) else list(tensors)
    queue = [tensor.grad_fn for tensor in roots if tensor.grad_fn is not None]
    found = set(queue)
    while queue:
        for node, _ in queue.pop().next_functions:
            if node is not None and node not in found:
                found.add(node)
                queue.append(node)
    return [node for node in found if hasattr(node, "variable")]
