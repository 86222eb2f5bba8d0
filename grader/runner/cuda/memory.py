"""Device memory in the worker: blocks that the judge exported, as tensors without a copy.

Importing this module touches no device: CUDA starts with the first block, in the child, after the
fork. The judge trusts nothing here; the times of `EventClock` are claims (see
`performance.decide.event_claims`).
"""

import contextlib
import functools
from typing import Any

import torch

from .api import CudaApi, CudaCallFailed, load_library


@functools.cache
def open_cuda() -> CudaApi:
    """Start CUDA in this process: torch's context, and the driver API for it."""
    torch.cuda.init()  # type: ignore[no-untyped-call]
    torch.cuda.synchronize()  # makes the primary context
    return CudaApi(load_library(), torch.cuda.current_device())


class _Mapping:
    """A mapped block in the form that torch can import; unmapped with the last tensor over it.

    Source: CUDA Array Interface, version 3, in Numba's documentation.
    """

    def __init__(self, api: CudaApi, fd: int, size_bytes: int) -> None:
        self._api = api
        self._handle = api.import_handle(fd)
        try:
            self._pointer = api.map(self._handle, size_bytes)
        except CudaCallFailed:
            api.release(self._handle)
            raise
        self._size_bytes = size_bytes

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": (self._size_bytes,),
            "typestr": "|u1",
            "data": (self._pointer, False),
            "strides": None,
            "version": 3,
        }

    def __del__(self) -> None:
        # A kernel may still read it; and at exit, CUDA itself may have ended before.
        if hasattr(self, "_size_bytes"):
            with contextlib.suppress(CudaCallFailed):
                self._api.call("cuCtxSynchronize")
                self._api.unmap(self._pointer, self._size_bytes)
                self._api.release(self._handle)


def open_block(fd: int, size_bytes: int) -> torch.Tensor:
    """Map a block of the judge's memory and return its bytes; tensors over them keep it mapped.

    The size is rounded up as the judge does.

    Raises:
        CudaCallFailed: if the driver refuses.
    """
    api = open_cuda()
    granule = api.granularity_bytes()
    mapping = _Mapping(api, fd, max(-(-size_bytes // granule), 1) * granule)
    return torch.as_tensor(mapping, device=torch.device("cuda", api.ordinal))


def is_usable() -> bool:
    """Return whether this process can still compute on its device.

    After an illegal access, and some other errors, every further call fails: the process has lost
    its CUDA context for good.
    """
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return False
    return True


class EventClock:
    """Times a block of code with CUDA events; it ends when the device has finished all work.

    Attributes:
        events_ns: time between the events; 0 before the end.
    """

    def __init__(self) -> None:
        self._begin = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        self._end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        self.events_ns = 0

    def __enter__(self) -> "EventClock":
        self._begin.record()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.record()
        torch.cuda.synchronize()  # all streams, not only the one that the events are on
        self.events_ns = round(self._begin.elapsed_time(self._end) * 1e6)
