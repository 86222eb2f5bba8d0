"""A cold last-level cache before each timed call.

Takes: a driver. Gives: `CacheFlush`. Does not cover: caches of the processor; a box that runs on
the device at the same time (the lease and the freeze keep others away, the box's own kernels run
on; their time is inside the judge's clock).
"""

from types import TracebackType
from typing import Self

from grader.device.driver import DeviceDriver

FACTOR = 2
"""How many times its size is written, so that a line survives no replacement policy."""


class CacheFlush:
    """Memory to write over, held while the block runs."""

    def __init__(self, driver: DeviceDriver) -> None:
        self._driver = driver
        self._block = driver.allocate(driver.facts.round_up(FACTOR * driver.facts.cache_bytes))

    def flush(self) -> None:
        """Write over the cache and let no line persist.

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
