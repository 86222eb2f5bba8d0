"""One child that computes on a device: as `runner.worker`, with tensors in the device's memory.

Takes: as `runner.worker`, and one more request, `device`, which names the device and lends the
memory for replies. Gives: replies, with the time between CUDA events as a claim. Does not cover:
trust, as there.
"""

import os
from dataclasses import dataclass

from ..tensors import Memory, TensorHeader
from ..worker import Json, WorkerProcess
from . import memory as device_memory


@dataclass(slots=True)
class CudaWorkerProcess(WorkerProcess):
    """A child whose arguments and replies lie in memory of a device, once the judge has lent it.

    Attributes:
        on_device: whether it has; until then everything is as on the processor.
    """

    on_device: bool = False

    def open_memory(self, request: dict[str, Json], fds: list[int]) -> Memory | None:
        """Map the block that came with a request, if one did."""
        if not fds:
            return None
        if request["op"] == "device":  # the judge's device is the only one that CUDA will find
            os.environ["CUDA_VISIBLE_DEVICES"] = request["uuid"]
            self.on_device = True
        if not self.on_device:
            return WorkerProcess.open_memory(self, request, fds)
        return device_memory.open_block(fds[0], _size_bytes(request))

    def answer(self, request: dict[str, Json], memory: Memory | None) -> dict[str, Json]:
        """Carry a request out; say so if the device is lost to this process from here on."""
        reply = WorkerProcess.answer(self, request, memory)
        if "raised" in reply and self.on_device and not device_memory.is_usable():
            reply["device_lost"] = True
        return reply

    def carry_out(self, request: dict[str, Json], memory: Memory | None) -> dict[str, Json]:
        """Do what a request asks for and return the reply."""
        if request["op"] == "device":
            if memory is not None:
                self.reply_memory = memory
            return {"value": None, "tensors": []}
        if not self.on_device or request["op"] not in ("new", "call"):
            # Not super(): a dataclass with slots is another class than the one it was made from.
            return WorkerProcess.carry_out(self, request, memory)
        with device_memory.EventClock() as clock:
            reply = WorkerProcess.carry_out(self, request, memory)
        return {**reply, "events_ns": clock.events_ns}


def _size_bytes(request: dict[str, Json]) -> int:
    """Return how many bytes of a block a request makes use of."""
    if request["op"] == "device":
        return int(request["reply_bytes"])
    headers = [
        TensorHeader(
            dtype=form["dtype"],
            shape=tuple(form["shape"]),
            strides=tuple(form["strides"]),
            offset=form["offset"],
        )
        for form in request["tensors"]
    ]
    return max((header.offset + header.span_bytes for header in headers), default=0)
