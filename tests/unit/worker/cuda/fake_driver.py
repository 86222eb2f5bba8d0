"""A device in this machine's own memory, with all methods of `DeviceDriver`.

It is as strict as a device: sizes are multiples of a granule, memory runs out, a freed block is
gone. A block is a memory file, so that another process can map an exported one.
"""

import contextlib
import itertools
import os
from collections.abc import Iterator, Mapping

from grader.errors import DeviceError
from grader.evidence.device import DeviceState, ThrottleReasons
from grader.runner.cuda.api import CUDA_ERROR_OUT_OF_MEMORY
from grader.worker.cuda.driver import Block, DeviceDriver, DeviceFacts
from grader.worker.cuda.reserved_memory import ReservedMemory

GRANULE_BYTES = 4096
CUDA_ERROR_INVALID_VALUE = 1  # cuda.h
_COPY_BYTES = 1 << 20


@contextlib.contextmanager
def reserve_memory(driver: DeviceDriver, limit_bytes: int) -> Iterator[int]:
    """Leave `limit_bytes` of any device free, and at most a few granules more; yield how many."""
    reserved = ReservedMemory(driver)
    try:
        yield reserved.leave(limit_bytes)
    finally:
        reserved.release()


class FakeDriver:
    """A device without a device.

    Attributes:
        calls: names of the methods that were called, in order.
        failing: codes to answer with, by method.
        reasons: that `state` returns.
    """

    def __init__(
        self,
        *,
        total_bytes: int = 1 << 30,
        cache_bytes: int = 1 << 16,
        granularity_bytes: int = GRANULE_BYTES,
        overhead_bytes: int = 0,
        failing: Mapping[str, int] | None = None,
    ) -> None:
        self._facts = DeviceFacts(
            name="NVIDIA Fake",
            uuid="GPU-00000000-0000-0000-0000-000000000000",
            driver="0.0",
            driver_release="0.0.0",
            total_bytes=total_bytes,
            cache_bytes=cache_bytes,
            granularity_bytes=granularity_bytes,
        )
        self.calls: list[str] = []
        self.failing = dict(failing or {})
        self.reasons = ThrottleReasons(0)
        self._held_bytes = 0
        self._overhead_bytes = overhead_bytes
        self._numbers = itertools.count(1)
        self._files: dict[int, int] = {}
        self._own: set[int] = set()
        self._open = True

    @property
    def facts(self) -> DeviceFacts:
        """What the device is."""
        return self._facts

    def free_bytes(self) -> int:
        """Return what is neither allocated here nor held by another."""
        self._called("free_bytes")
        return self._facts.total_bytes - self._held_bytes

    def hold(self, size_bytes: int) -> None:
        """Be another process that takes memory (or gives it back, for a negative size)."""
        self._held_bytes += size_bytes

    def allocate(self, size_bytes: int) -> Block:
        """Return new memory, zeroed."""
        self._called("allocate")
        self._refuse_ragged(size_bytes)
        if size_bytes > self._facts.total_bytes - self._held_bytes:
            raise _refusal("allocate", CUDA_ERROR_OUT_OF_MEMORY)
        fd = os.memfd_create("fake device memory", os.MFD_CLOEXEC)
        os.ftruncate(fd, size_bytes)
        self._held_bytes += size_bytes + self._overhead_bytes
        block = self._keep(fd, size_bytes)
        self._own.add(block.handle)
        return block

    def export(self, block: Block) -> int:
        """Return another descriptor of the memory file."""
        self._called("export")
        return os.dup(self._file(block))

    def attach(self, fd: int, size_bytes: int) -> Block:
        """Keep another descriptor of an exported memory file."""
        self._called("attach")
        self._refuse_ragged(size_bytes)
        if os.fstat(fd).st_size != size_bytes:
            raise _refusal("attach", CUDA_ERROR_INVALID_VALUE)
        return self._keep(os.dup(fd), size_bytes)

    def free(self, block: Block) -> None:
        """Close the memory file."""
        self._called("free")
        os.close(self._file(block))
        del self._files[block.handle]
        if block.handle in self._own:
            self._own.discard(block.handle)
            self._held_bytes -= block.size_bytes + self._overhead_bytes

    def write(self, block: Block, content: bytes | bytearray | memoryview) -> None:
        """Write to the start of a block."""
        self._called("write")
        view = memoryview(content).cast("B")
        self._refuse_outside(block, len(view), 0)
        done = 0
        while done < len(view):
            done += os.pwrite(self._file(block), view[done:], done)

    def read(self, block: Block, size_bytes: int, *, offset: int = 0) -> bytearray:
        """Return bytes of a block."""
        self._called("read")
        self._refuse_outside(block, size_bytes, offset)
        content = bytearray(size_bytes)
        view, done = memoryview(content), 0
        while done < size_bytes:
            done += os.preadv(self._file(block), [view[done:]], offset + done)
        return content

    def fill(self, block: Block, value: int) -> None:
        """Set every byte of a block."""
        self._called("fill")
        if not 0 <= value < 256:
            raise _refusal("fill", CUDA_ERROR_INVALID_VALUE)
        part = bytes([value]) * min(block.size_bytes, _COPY_BYTES)
        for offset in range(0, block.size_bytes, len(part)):
            left = block.size_bytes - offset
            os.pwrite(self._file(block), part[:left], offset)

    def copy(self, source: Block, target: Block) -> None:
        """Copy all of a block."""
        self._called("copy")
        self._refuse_outside(target, source.size_bytes, 0)
        for offset in range(0, source.size_bytes, _COPY_BYTES):
            part = os.pread(self._file(source), _COPY_BYTES, offset)
            os.pwrite(self._file(target), part, offset)

    def synchronize(self) -> None:
        """Do nothing: whatever was asked has happened."""
        self._called("synchronize")

    def forget_persisting_lines(self) -> None:
        """Do nothing: there is no cache."""
        self._called("forget_persisting_lines")

    def state(self) -> DeviceState:
        """Return what `reasons` says, at clocks that never change."""
        self._called("state")
        return DeviceState(reasons=self.reasons, sm_clock_mhz=1980, memory_clock_mhz=3201)

    def close(self) -> None:
        """Refuse if a block was forgotten."""
        self._called("close")
        self._open = False
        left = len(self._files)
        for fd in self._files.values():
            os.close(fd)
        self._files.clear()
        if left:
            raise DeviceError(f"{left} blocks were not freed")

    def _keep(self, fd: int, size_bytes: int) -> Block:
        handle = next(self._numbers)
        self._files[handle] = fd
        return Block(pointer=handle << 40, size_bytes=size_bytes, handle=handle)

    def _file(self, block: Block) -> int:
        if block.handle not in self._files:
            raise DeviceError("a block that has been freed")
        return self._files[block.handle]

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if not self._open:
            raise DeviceError("the device has been closed")
        if name in self.failing:
            raise _refusal(name, self.failing[name])

    def _refuse_ragged(self, size_bytes: int) -> None:
        if size_bytes <= 0 or size_bytes % self._facts.granularity_bytes:
            raise _refusal("allocate", CUDA_ERROR_INVALID_VALUE)

    def _refuse_outside(self, block: Block, size_bytes: int, offset: int) -> None:
        self._file(block)
        if offset < 0 or size_bytes < 0 or offset + size_bytes > block.size_bytes:
            raise DeviceError(
                f"{size_bytes} bytes at {offset} of a block of {block.size_bytes} bytes"
            )


def _refusal(call: str, code: int) -> DeviceError:
    return DeviceError(f"{call}: refused ({code})", call=call, code=code)
