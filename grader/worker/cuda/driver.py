"""A CUDA device, as the judge uses it: memory that a worker can map, copies, fills, and its state.

`DeviceDriver` is the interface, `CudaDriver` the real device behind its driver's library. The judge
runs no kernels: nothing but copies and fills is executed on the device for it.

Every function of the driver is called by its name in cuda.h (CUDA 13.0), declared once in
`runner.cuda.api`; every code that is not CUDA_SUCCESS becomes a `DeviceError`.
"""

import contextlib
import ctypes
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

from grader.errors import DeviceError
from grader.evidence.device import DeviceState
from grader.runner.cuda import api as cuda_api
from grader.runner.cuda.api import CudaApi, CudaCallFailed
from grader.worker.cuda import nvml

_NAME_BYTES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """What does not change about a device.

    Attributes:
        uuid: as its driver writes it, "GPU-…" with hyphens; the name of the device's lease.
        driver: version of the driver's interface.
        driver_release: release of the driver itself, such as 580.65.06.
        cache_bytes: of its last-level cache.
        granularity_bytes: the sizes of blocks are multiples of it.
    """

    name: str
    uuid: str
    driver: str
    driver_release: str
    total_bytes: int
    cache_bytes: int
    granularity_bytes: int

    def round_up(self, size_bytes: int) -> int:
        """Return the size of a block that holds `size_bytes`, at least one granule."""
        granules = max(-(-size_bytes // self.granularity_bytes), 1)
        return granules * self.granularity_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Memory of a device, mapped at `pointer` in this process; `handle` is its driver's name."""

    pointer: int
    size_bytes: int
    handle: int


class DeviceDriver(Protocol):
    """One device.

    Every method raises `DeviceError`, with the driver's call and code, when the driver refuses. The
    work of a method on the device is done when it returns.
    """

    @property
    def facts(self) -> DeviceFacts:
        """What does not change about the device."""

    def free_bytes(self) -> int:
        """Return the bytes that nobody holds, on the whole device."""

    def allocate(self, size_bytes: int) -> Block:
        """Return new memory that can be exported; the size is a multiple of the granularity."""

    def export(self, block: Block) -> int:
        """Return a descriptor by which any process can map the memory; the caller closes it."""

    def attach(self, fd: int, size_bytes: int) -> Block:
        """Map memory that was exported; the descriptor stays the caller's."""

    def free(self, block: Block) -> None:
        """Remove the mapping; the memory stays while another process maps it."""

    def write(self, block: Block, content: bytes | bytearray | memoryview) -> None:
        """Copy bytes of this machine to the start of a block."""

    def read(self, block: Block, size_bytes: int, *, offset: int = 0) -> bytearray:
        """Return bytes of a block."""

    def fill(self, block: Block, value: int) -> None:
        """Set every byte of a block."""

    def copy(self, source: Block, target: Block) -> None:
        """Copy all of a block to the start of another one, on the device."""

    def synchronize(self) -> None:
        """Wait until everything that this process asked of the device is done."""

    def forget_persisting_lines(self) -> None:
        """Let no cache line outlive a flush: set nothing aside, and release what was set aside."""

    def state(self) -> DeviceState:
        """Return how fast the device runs at this moment, and what slows it down."""

    def close(self) -> None:
        """Release the device; all blocks must have been freed."""


@contextlib.contextmanager
def open_device() -> Iterator[DeviceDriver]:
    """Open the first device, and release it when the block ends.

    Raises:
        DeviceError: if there is none, or it cannot share memory between processes.
    """
    with _named_failures():
        driver = CudaDriver(cuda_api.load_library(), nvml.load_library())
    try:
        yield driver
    finally:
        driver.close()


class CudaDriver:
    """One CUDA device in its primary context; see `DeviceDriver` for the methods."""

    def __init__(self, library: cuda_api.Library, management: cuda_api.Library) -> None:
        with contextlib.ExitStack() as undo:
            with _named_failures():
                self._api = CudaApi(library, 0)
            undo.callback(self._api.close)
            facts = self._find_facts()
            self._nvml = nvml.Nvml(management, facts.uuid)
            undo.callback(self._nvml.close)
            self.facts = replace(facts, driver_release=self._nvml.driver_release())
            undo.pop_all()

    def free_bytes(self) -> int:
        """Return the bytes that nobody holds, on the whole device."""
        return self._memory()[0]

    def allocate(self, size_bytes: int) -> Block:
        """Return new memory that can be exported."""
        handle = cuda_api.Handle()
        properties = cuda_api.shareable(self._api.ordinal)
        self._call("cuMemCreate", ctypes.byref(handle), size_bytes, ctypes.byref(properties), 0)
        return self._map(handle.value, size_bytes)

    def export(self, block: Block) -> int:
        """Return a descriptor of a block; the caller closes it."""
        fd = ctypes.c_int(-1)
        self._call(
            "cuMemExportToShareableHandle",
            ctypes.byref(fd),
            block.handle,
            cuda_api.CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
            0,
        )
        os.set_inheritable(fd.value, False)
        return fd.value

    def attach(self, fd: int, size_bytes: int) -> Block:
        """Map memory that was exported."""
        with _named_failures():
            handle = self._api.import_handle(fd)
        return self._map(handle, size_bytes)

    def free(self, block: Block) -> None:
        """Remove the mapping and release the memory."""
        with _named_failures():
            self._api.unmap(block.pointer, block.size_bytes)
            self._api.release(block.handle)

    def write(self, block: Block, content: bytes | bytearray | memoryview) -> None:
        """Copy bytes of this machine to the start of a block."""
        view = memoryview(content).cast("B")
        _refuse_outside(block, len(view))
        if view.readonly:
            view = memoryview(bytearray(view))  # ctypes points only into writable memory
        if len(view):
            source = (ctypes.c_ubyte * len(view)).from_buffer(view)
            self._call("cuMemcpyHtoD_v2", block.pointer, ctypes.byref(source), len(view))
            self.synchronize()

    def read(self, block: Block, size_bytes: int, *, offset: int = 0) -> bytearray:
        """Return bytes of a block."""
        _refuse_outside(block, size_bytes, offset)
        content = bytearray(size_bytes)
        if size_bytes:
            target = (ctypes.c_ubyte * size_bytes).from_buffer(content)
            source = block.pointer + offset
            self._call("cuMemcpyDtoH_v2", ctypes.byref(target), source, size_bytes)
        return content

    def fill(self, block: Block, value: int) -> None:
        """Set every byte of a block."""
        self._call("cuMemsetD8_v2", block.pointer, value, block.size_bytes)
        self.synchronize()  # the call alone returns before the device is done

    def copy(self, source: Block, target: Block) -> None:
        """Copy all of a block to the start of another one, on the device."""
        _refuse_outside(target, source.size_bytes)
        self._call("cuMemcpyDtoD_v2", target.pointer, source.pointer, source.size_bytes)
        self.synchronize()  # as for fill

    def synchronize(self) -> None:
        """Wait until everything that this process asked of the device is done."""
        self._call("cuCtxSynchronize")

    def forget_persisting_lines(self) -> None:
        """Set no part of the L2 cache aside, and make persisting lines ordinary ones."""
        if self._attribute(cuda_api.CU_DEVICE_ATTRIBUTE_MAX_PERSISTING_L2_CACHE_SIZE) == 0:
            return  # the device cannot set a part aside, and would refuse
        self._call("cuCtxSetLimit", cuda_api.CU_LIMIT_PERSISTING_L2_CACHE_SIZE, 0)
        self._call("cuCtxResetPersistingL2Cache")

    def state(self) -> DeviceState:
        """Return how fast the device runs at this moment, and what slows it down."""
        return self._nvml.state()

    def close(self) -> None:
        """Release the device."""
        try:
            self._nvml.close()
        finally:
            with _named_failures():
                self._api.close()

    def _map(self, handle: int, size_bytes: int) -> Block:
        with _named_failures():
            try:
                pointer = self._api.map(handle, size_bytes)
            except CudaCallFailed:
                self._api.release(handle)
                raise
        return Block(pointer=pointer, size_bytes=size_bytes, handle=handle)

    def _find_facts(self) -> DeviceFacts:
        """Ask for everything that does not change; refuse a device that cannot share memory."""
        for attribute in (
            cuda_api.CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED,
            cuda_api.CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED,
        ):
            if not self._attribute(attribute):
                raise DeviceError(
                    f"the device cannot share memory between processes (attribute {attribute})",
                    hint="use another GPU",
                )
        name = ctypes.create_string_buffer(_NAME_BYTES)
        self._call("cuDeviceGetName", name, _NAME_BYTES, self._api.device)
        found = cuda_api.Uuid()
        self._call("cuDeviceGetUuid_v2", ctypes.byref(found), self._api.device)
        version = ctypes.c_int()
        self._call("cuDriverGetVersion", ctypes.byref(version))
        with _named_failures():
            granularity_bytes = self._api.granularity_bytes()
        return DeviceFacts(
            name=name.value.decode(errors="replace"),
            uuid=f"GPU-{uuid.UUID(bytes=bytes(found.bytes))}",
            driver=f"{version.value // 1000}.{version.value % 1000 // 10}",
            driver_release="",  # known to NVML only
            total_bytes=self._memory()[1],
            cache_bytes=self._attribute(cuda_api.CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE),
            granularity_bytes=granularity_bytes,
        )

    def _memory(self) -> tuple[int, int]:
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self._call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value, total.value

    def _attribute(self, attribute: int) -> int:
        found = ctypes.c_int()
        self._call("cuDeviceGetAttribute", ctypes.byref(found), attribute, self._api.device)
        return found.value

    def _call(self, name: str, *arguments: Any) -> None:  # noqa: ANN401 - a foreign function's
        with _named_failures():
            self._api.call(name, *arguments)


@contextlib.contextmanager
def _named_failures() -> Iterator[None]:
    """Turn a refusal of the driver into an error of the project's tree."""
    try:
        yield
    except CudaCallFailed as failure:
        hints = {
            cuda_api.CUDA_ERROR_OUT_OF_MEMORY: "end other programs that use memory of the device",
            cuda_api.CUDA_ERROR_NO_DEVICE: "check with nvidia-smi that there is a CUDA device",
        }
        raise DeviceError(
            str(failure), hint=hints.get(failure.code, ""), call=failure.call, code=failure.code
        ) from failure


def _refuse_outside(block: Block, size_bytes: int, offset: int = 0) -> None:
    if offset < 0 or size_bytes < 0 or offset + size_bytes > block.size_bytes:
        raise DeviceError(f"{size_bytes} bytes at {offset} of a block of {block.size_bytes} bytes")
