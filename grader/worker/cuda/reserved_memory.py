"""The device memory that the judge holds: reserved, so that a worker has no more than a limit.

A worker needs memory for its own CUDA context too (some hundreds of MB), so a limit for its tensors
alone is set once that context exists (see `worker.cuda.session`). Memory of other processes must
not change meanwhile: a run has the device under a lease. `CacheFlush` holds a block to overwrite
the cache with.
"""

import contextlib

from grader.errors import DeviceError
from grader.runner.cuda.api import CUDA_ERROR_OUT_OF_MEMORY
from grader.worker.cuda.driver import Block, DeviceDriver

FACTOR = 2
"""How many times the cache's size is written, so that no replacement policy keeps a line."""


class CacheFlush:
    """A block that is larger than the cache, held until `close`."""

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


MAX_STEPS = 256


class ReservedMemory:
    """Memory that the judge holds so that nobody else can."""

    def __init__(self, driver: DeviceDriver) -> None:
        self._driver = driver
        self._blocks: list[Block] = []

    def leave(self, limit_bytes: int) -> int:
        """Reserve more or less, so that `limit_bytes` are free, and return how many are.

        Blocks are freed and allocated one by one, each as large as possible, so that for moments
        more is free: the worker has to be frozen. A block costs a little more than its size (page
        tables): one that leaves less than the limit is freed, and a smaller one allocated.

        Raises:
            DeviceError: if less is free with nothing reserved, or the rest cannot be reserved.
        """
        granule = self._driver.facts.granularity_bytes
        most = self._driver.facts.round_up(self._driver.facts.total_bytes)
        for _ in range(MAX_STEPS):
            free_bytes = self._driver.free_bytes()
            excess = (free_bytes - limit_bytes) // granule * granule
            if excess == 0:
                return free_bytes
            size_bytes = min(excess, most)
            if excess > 0:
                if self._allocate(size_bytes):
                    continue
            elif self._blocks:
                size_bytes = self._blocks[-1].size_bytes
                self._driver.free(self._blocks.pop())
            else:
                raise _too_little(free_bytes, limit_bytes)
            if size_bytes == granule:  # no block is smaller
                free_bytes = self._driver.free_bytes()
                if free_bytes < limit_bytes:
                    raise _too_little(free_bytes, limit_bytes)
                return free_bytes
            most = self._driver.facts.round_up(size_bytes // 2)
        raise DeviceError(f"cannot reserve all of the device but {limit_bytes} bytes")

    def release(self) -> None:
        """Free everything, also when freeing one block fails.

        Raises:
            DeviceError: if that failed.
        """
        blocks, self._blocks = self._blocks, []
        with contextlib.ExitStack() as stack:
            for block in blocks:
                stack.callback(self._driver.free, block)

    def _allocate(self, size_bytes: int) -> bool:
        """Allocate a block, if there is one of that size."""
        try:
            self._blocks.append(self._driver.allocate(size_bytes))
        except DeviceError as error:
            if error.code != CUDA_ERROR_OUT_OF_MEMORY:
                raise
            return False
        return True


def _too_little(free_bytes: int, limit_bytes: int) -> DeviceError:
    return DeviceError(
        f"{free_bytes} bytes of the device are free, {limit_bytes} are needed",
        hint="end other programs that use memory of the device",
    )
