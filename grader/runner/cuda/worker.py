"""The worker on a CUDA device: as `runner.worker`, with tensors in the device's memory.

It answers one more request, `device`, which names the device and passes the memory for replies.
Each reply to `new` or `call` then has the time between CUDA events. The judge treats that time as a
claim.
"""

import os
from dataclasses import dataclass

from ..tensors import Memory, TensorHeader
from ..worker import Json, WorkerProcess
from . import memory as device_memory


@dataclass(slots=True)
class CudaWorkerProcess(WorkerProcess):
    """A worker whose arguments and replies lie in memory of a device, after request `device`.

    Attributes:
        on_device: whether that request has come; before it, the worker behaves as on the CPU.
    """

    on_device: bool = False

    def open_memory(self, request: dict[str, Json], fds: list[int]) -> Memory | None:
        """Map the block of memory that came with a request, if any."""
        if not fds:
            return None
        if request["op"] == "device":  # CUDA will see no other device
            os.environ["CUDA_VISIBLE_DEVICES"] = request["uuid"]
            self.on_device = True
        if not self.on_device:
            return WorkerProcess.open_memory(self, request, fds)
        return device_memory.open_block(fds[0], _size_bytes(request))

    def answer(self, request: dict[str, Json], memory: Memory | None) -> dict[str, Json]:
        """Carry out a request; report in the reply if this process has lost the device."""
        reply = WorkerProcess.answer(self, request, memory)
        if "raised" in reply and self.on_device and not device_memory.is_usable():
            reply["device_lost"] = True
        return reply

    def carry_out(self, request: dict[str, Json], memory: Memory | None) -> dict[str, Json]:
        """Carry out a request and return the reply."""
        if request["op"] == "device":
            if memory is not None:
                self.reply_memory = memory
            return {"value": None, "tensors": []}
        if not self.on_device or request["op"] not in ("new", "call"):
            # Not super(): it fails in a dataclass with slots, which is made as a second class.
            return WorkerProcess.carry_out(self, request, memory)
        with device_memory.EventClock() as clock:
            reply = WorkerProcess.carry_out(self, request, memory)
        return {**reply, "events_ns": clock.events_ns}


def _size_bytes(request: dict[str, Json]) -> int:
    """Return how many bytes of its block a request uses."""
    if request["op"] == "device":
        return int(request["reply_bytes"])
    headers = [TensorHeader.from_json(form) for form in request["tensors"]]
    return max((header.offset + header.span_bytes for header in headers), default=0)
