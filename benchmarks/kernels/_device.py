"""Where a call is timed: the seam between the benchmarks and a device.

Takes: a call. Gives: `Device`: how long it took, what it allocated at its peak. Two of them:
`CudaDevice`, and `Interpreter`, which tries the benchmarks themselves on the processor and whose
times mean nothing. Does not cover: which calls, in which order (`_rounds`).

On CUDA a call begins with a cold L2 (a buffer of twice its size is written before) and behind a
pause of the device, in which the host prepares the launches: without it, what a small kernel costs
would be the time that Python takes to launch it. The times are those of CUDA events around the
call.
"""

import time
from collections.abc import Callable
from typing import Protocol

import torch

Call = Callable[[], torch.Tensor]

PAUSE_CYCLES = 2_000_000
"""About 1 ms of a Hopper's clock: launches of a dozen kernels, autograd's among them, take less."""
LEAST_FLUSH_BYTES = 1 << 25


class Device(Protocol):
    """A place to run calls in.

    Attributes:
        kind: of torch's devices.
        counts: whether its times mean anything.
        half: the half-precision dtype that it computes with.
    """

    kind: str
    counts: bool
    half: torch.dtype

    def seconds(self, call: Call) -> float:
        """Run a call and return how long the device worked on it, in s."""

    def extra_bytes(self, call: Call) -> int:
        """Run a call; return what it held at its peak beyond what was there, its result included.

        Raises:
            NotImplementedError: the device does not count bytes; our fault to have asked.
        """


class CudaDevice:
    """The current CUDA device."""

    kind = "cuda"
    counts = True
    half = torch.bfloat16

    def __init__(self) -> None:
        cache_bytes = torch.cuda.get_device_properties(torch.cuda.current_device()).L2_cache_size
        size = max(2 * cache_bytes, LEAST_FLUSH_BYTES)
        self._flush = torch.empty(size, dtype=torch.int8, device=self.kind)

    def seconds(self, call: Call) -> float:
        begin = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
        self._flush.zero_()
        torch.cuda._sleep(PAUSE_CYCLES)  # type: ignore[no-untyped-call]
        begin.record()
        call()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1e3

    def extra_bytes(self, call: Call) -> int:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before


class Interpreter:
    """The processor, with kernels in Triton's interpreter: fp16, as it gets bfloat16 wrong."""

    kind = "cpu"
    counts = False
    half = torch.float16

    def seconds(self, call: Call) -> float:
        begin = time.perf_counter()
        call()
        return time.perf_counter() - begin

    def extra_bytes(self, call: Call) -> int:
        raise NotImplementedError("the processor's allocations are not counted")
