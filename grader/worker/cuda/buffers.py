"""Memory of a device that judge and worker share, in place of the memory files of `worker.buffers`.

The arguments of each call are in a block of their own, which no worker has seen before: a kernel
that waits in the worker cannot watch inputs arrive. Everything around them is 0xFF, which is NaN in
every floating-point format. Replies are in one block per worker, filled with 0xFF before each call.
After a call the whole block is copied on the device into one that only the judge has: what the
worker's kernels write later has no effect. Freezing the worker stops no kernel, so the clock runs
until that copy is done.

Blocks are written from end to end before they are exported, because they may still hold what the
judge had there before. How a worker maps them is in `runner.cuda.memory`.
"""

import contextlib
import os

import torch

from grader.runner.tensors import TensorHeader
from grader.worker.buffers import Replies, lay_out, overwrite_tensors, write_tensors
from grader.worker.cuda.driver import Block, DeviceDriver

POISON = 0xFF


def block_bytes(driver: DeviceDriver, tensors: list[torch.Tensor]) -> int:
    """Return the size of the block that holds the arguments of one call."""
    _, size_bytes = lay_out(tensors)
    return driver.facts.round_up(size_bytes)


class DeviceArgumentMemory:
    """The tensors of one call, in a block that the worker maps as well."""

    def __init__(self, driver: DeviceDriver, tensors: list[torch.Tensor]) -> None:
        self._driver = driver
        self.headers, _ = lay_out(tensors)
        self._sent = bytearray([POISON]) * block_bytes(driver, tensors)
        write_tensors(self._sent, self.headers, tensors)
        self._block, self.fd = _share(driver, self._sent)

    def unchanged(self) -> bool:
        """Return whether every byte is as it was sent."""
        self._driver.synchronize()
        return self._driver.read(self._block, len(self._sent)) == self._sent

    def overwrite(self) -> None:
        """Overwrite every tensor, as a caller that reuses its buffers would."""
        image = bytearray(self._sent)
        overwrite_tensors(image, self.headers)
        self._driver.write(self._block, image)

    def reclaim(self) -> None:
        """Overwrite the contents with zeros; the worker's mapping stays."""
        self._driver.fill(self._block, 0)

    def close(self) -> None:
        """Release the memory; the worker keeps its own mapping."""
        _unshare(self._driver, self._block, self.fd)


class DeviceReplyMemory(Replies):
    """Where one worker's reply tensors arrive, and the judge's own copy of them.

    Attributes:
        shared_bytes: size of the block, as the worker maps it.
    """

    def __init__(self, driver: DeviceDriver, size_bytes: int) -> None:
        super().__init__(size_bytes)
        self._driver = driver
        self.shared_bytes = driver.facts.round_up(size_bytes)
        self._copy = driver.allocate(self.shared_bytes)
        try:
            driver.fill(self._copy, POISON)
            self._block, self.fd = _share(driver, bytearray([POISON]) * self.shared_bytes)
        except BaseException:
            driver.free(self._copy)
            raise

    def poison(self) -> None:
        """Overwrite the last reply, before the next request.

        Raises:
            DeviceError: if the driver refuses.
        """
        self._driver.fill(self._block, POISON)

    def snapshot(self) -> None:
        """Copy the reply to where the worker cannot reach; the clock stops when this is done.

        The whole block is always copied, so that the time does not depend on the reply and a null
        call takes as long.

        Raises:
            DeviceError: if the driver refuses.
        """
        self._driver.copy(self._block, self._copy)
        self._driver.synchronize()

    def close(self) -> None:
        """Release the memory."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._driver.free, self._copy)
            _unshare(self._driver, self._block, self.fd)

    def _copied(self, header: TensorHeader) -> bytearray:
        """Return bytes of the last snapshot."""
        return self._driver.read(self._copy, header.span_bytes, offset=header.offset)


def _share(driver: DeviceDriver, content: bytearray) -> tuple[Block, int]:
    """Return a new block that holds `content`, and a descriptor of it."""
    block = driver.allocate(len(content))
    try:
        driver.write(block, content)
        return block, driver.export(block)
    except BaseException:
        driver.free(block)
        raise


def _unshare(driver: DeviceDriver, block: Block, fd: int) -> None:
    os.close(fd)
    driver.free(block)
