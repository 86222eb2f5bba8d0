"""The device memory that the judge holds: reserved, so that a worker has no more than a limit.

A worker needs memory for its own CUDA context too (some hundreds of MB), so a limit for its tensors
alone is set once that context exists (see `worker.cuda.session`). Memory of other processes must
not change meanwhile: a run has the device under a lease. `CacheFlush` holds a block to overwrite
the cache with.
"""

import contextlib
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from grader.errors import DeviceError
from grader.runner.cuda.api import CUDA_ERROR_OUT_OF_MEMORY
from grader.worker.cuda.driver import Block, DeviceDriver

FACTOR = 2
"""How many times the cache's size is written, so that no replacement policy keeps a line."""


class CacheFlush:
    """A block that is larger than the cache, held while the `with` block runs."""

    def __init__(self, driver: DeviceDriver) -> None:
        self._driver = driver
        self._block = driver.allocate(driver.facts.round_up(FACTOR * driver.facts.cache_bytes))

    def flush(self) -> None:
        """Overwrite the cache, and let no line persist.

        Raises:
            DeviceError: if the driver refuses.
        """
        self._driver.forget_persisting_lines()
        self._driver.fill(self._block, 0)
        self._driver.synchronize()

    def close(self) -> None:
        """Give the memory back."""
        self._driver.free(self._block)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


MAX_STEPS = 256


@contextlib.contextmanager
def reserve_memory(driver: DeviceDriver, limit_bytes: int) -> Iterator[int]:
    """Leave `limit_bytes` of a device's memory free, and at most a few granules more.

    Yields:
        the bytes that are free.

    Raises:
        DeviceError: if less is free from the start, or the rest cannot be reserved.
    """
    free_bytes = driver.free_bytes()
    if limit_bytes < 0 or free_bytes < limit_bytes:
        raise DeviceError(
            f"{free_bytes} bytes of the device are free, {limit_bytes} are needed",
            hint="end other programs that use memory of the device",
        )
    reserved_memory = ReservedMemory(driver)
    try:
        yield reserved_memory.leave(limit_bytes)
    finally:
        reserved_memory.release()


class ReservedMemory:
    """Memory that the judge holds so that nobody else can."""

    def __init__(self, driver: DeviceDriver) -> None:
        self._driver = driver
        self._blocks: list[Block] = []

    def leave(self, limit_bytes: int) -> int:
        """Reserve more or less, so that `limit_bytes` are free, and return how many are.

        Blocks are freed and allocated one by one, so that for moments more is free: the worker has
        to be frozen.

        Raises:
            DeviceError: if less is free with nothing reserved, or the rest cannot be reserved.
        """
        return _hold_all_but(self._driver, limit_bytes, self._blocks)

    def release(self) -> None:
        """Free everything, also when freeing one block fails.

        Raises:
            DeviceError: if that failed.
        """
        blocks, self._blocks = self._blocks, []
        _free_all(self._driver, blocks)


def _hold_all_but(driver: DeviceDriver, limit_bytes: int, blocks: list[Block]) -> int:
    """Allocate blocks, as large as possible, until less than a granule too much is free.

    A block costs a little more than its size (page tables): one that leaves less than the limit is
    freed, and a smaller one allocated.
    """
    granule = driver.facts.granularity_bytes
    most = driver.facts.round_up(driver.facts.total_bytes)
    for _ in range(MAX_STEPS):
        free_bytes = driver.free_bytes()
        excess = (free_bytes - limit_bytes) // granule * granule
        if excess == 0:
            return free_bytes
        size_bytes = min(excess, most)
        if excess < 0:
            if not blocks:
                break  # another process took it
            size_bytes = blocks[-1].size_bytes
            driver.free(blocks.pop())
        else:
            try:
                blocks.append(driver.allocate(size_bytes))
                continue
            except DeviceError as error:
                if error.code != CUDA_ERROR_OUT_OF_MEMORY:
                    raise
        if size_bytes == granule:  # no block is smaller
            return _at_least(limit_bytes, driver.free_bytes())
        most = driver.facts.round_up(size_bytes // 2)
    raise DeviceError(f"cannot leave {limit_bytes} bytes of the device, and no more, free")


def _at_least(limit_bytes: int, free_bytes: int) -> int:
    """Return `free_bytes`.

    Raises:
        DeviceError: if it is less than the limit.
    """
    if free_bytes < limit_bytes:
        raise DeviceError(f"{free_bytes} bytes of the device are left, {limit_bytes} are needed")
    return free_bytes


def _free_all(driver: DeviceDriver, blocks: list[Block]) -> None:
    """Free every block, also when freeing one fails."""
    with contextlib.ExitStack() as stack:
        for block in blocks:
            stack.callback(driver.free, block)
