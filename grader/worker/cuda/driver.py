"""What the judge asks of a device: memory that a box can map, copies, and a settled state.

Takes: nothing. Gives: `DeviceDriver`, the seam; `Block`, `DeviceFacts`. Does not cover: how CUDA
does it (see `worker.cuda.cuda_driver`), a device in this machine's memory, for tests (see
`tests.unit.worker.cuda.fake_driver`).
"""

from dataclasses import dataclass
from typing import Protocol

from grader.evidence.device import DeviceState


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """What a device is.

    Attributes:
        name: as its driver calls it.
        uuid: as its driver writes it, "GPU-…" with hyphens; names the device's lease.
        driver: version of the driver's interface.
        driver_release: release of the driver itself, such as 580.65.06.
        total_bytes: of its memory.
        cache_bytes: of its last-level cache.
        granularity_bytes: what the size of a block is a multiple of.
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
    """Memory of a device, mapped here.

    Attributes:
        pointer: address in this process.
        size_bytes: of all of it.
        handle: the driver's name for it.
    """

    pointer: int
    size_bytes: int
    handle: int


class DeviceDriver(Protocol):
    """One device.

    Every method raises `DeviceError`, with the driver's call and code, when the driver refuses.
    What a method has returned from has happened: none of them leaves work running.
    """

    @property
    def facts(self) -> DeviceFacts:
        """What the device is."""

    def free_bytes(self) -> int:
        """Return the bytes that nobody holds, on the whole device."""

    def allocate(self, size_bytes: int) -> Block:
        """Return new memory that can be exported; the size is a multiple of the granularity."""

    def export(self, block: Block) -> int:
        """Return a descriptor that stands for the memory in any process; the caller closes it."""

    def attach(self, fd: int, size_bytes: int) -> Block:
        """Map memory that was exported; the descriptor stays the caller's."""

    def free(self, block: Block) -> None:
        """Take the mapping away; the memory lives on while another process maps it."""

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
        """Let no cache line outlive a flush: none may be set aside, and those that are, are not."""

    def state(self) -> DeviceState:
        """Return how fast the device runs, and why not faster, now."""

    def close(self) -> None:
        """Let go of the device; blocks must have been freed."""
