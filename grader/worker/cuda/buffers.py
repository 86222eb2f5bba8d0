"""Memory of a device that judge and box share: made and written here, read by a copy of our own.

Takes: a driver, tensors to send, headers from a reply. Gives: `DeviceArgumentMemory`,
`DeviceReplyMemory`, in place of those in `worker.buffers`. Does not cover: how a box maps it (see
`runner.cuda.memory`).

Arguments of each call lie in a block of their own, which no box has seen before: a kernel that
waits in the box cannot watch inputs arrive. Everything around them is 0xFF, a NaN in every
floating-point format. Replies lie in one block per child, filled with 0xFF before each call. After
a call the whole of it is copied on the device into a block that only the judge has; what the box's
kernels write later is never seen. A freeze stops no kernel, so the clock runs until that copy is
done.

Blocks are written from end to end before they are exported: they may hold what the judge held there
before.
"""

import contextlib
import os
from typing import Any

import torch

from grader.runner.tensors import TensorHeader, view
from grader.worker.buffers import believe, lay_out, poison_gaps, tensor_of, write_tensor
from grader.worker.cuda.driver import Block, DeviceDriver

POISON = 0xFF


def block_bytes(driver: DeviceDriver, tensors: list[torch.Tensor]) -> int:
    """Return the size of the block that holds the arguments of one call."""
    ends = (header.offset + header.span_bytes for header in lay_out(tensors))
    return driver.facts.round_up(max(ends, default=0))


class DeviceArgumentMemory:
    """The tensors of one call, in a block that the box maps as well.

    Attributes:
        headers: where each tensor lies.
        fd: stands for the block in the box.
    """

    def __init__(self, driver: DeviceDriver, tensors: list[torch.Tensor]) -> None:
        self._driver = driver
        self.headers = lay_out(tensors)
        self._sent = bytearray([POISON]) * block_bytes(driver, tensors)
        for header, tensor in zip(self.headers, tensors, strict=True):
            poison_gaps(self._sent, header)
            write_tensor(self._sent, header, tensor)
        self._block, self.fd = _share(driver, self._sent)

    def unchanged(self) -> bool:
        """Return whether every byte is as it was sent."""
        self._driver.synchronize()
        return self._driver.read(self._block, len(self._sent)) == self._sent

    def overwrite(self) -> None:
        """Overwrite every tensor, as a caller that reuses its buffers would."""
        image = bytearray(self._sent)
        for header in self.headers:
            if header.span:
                flat = TensorHeader(
                    dtype=header.dtype, shape=(header.span,), strides=(1,), offset=header.offset
                )
                view(image, flat).fill_(1 if header.dtype == "bool" else 77)
        self._driver.write(self._block, image)

    def reclaim(self) -> None:
        """Leave nothing of the contents; the box's mapping stays."""
        self._driver.fill(self._block, 0)

    def close(self) -> None:
        """Let go of the memory; the box keeps its own mapping."""
        _unshare(self._driver, self._block, self.fd)


class DeviceReplyMemory:
    """Where one child's reply tensors arrive, and the judge's own copy of it.

    Attributes:
        fd: stands for the block in the box.
        shared_bytes: size of the block, as the box maps it.
    """

    def __init__(self, driver: DeviceDriver, size_bytes: int) -> None:
        self._driver = driver
        self._size_bytes = size_bytes
        self.shared_bytes = driver.facts.round_up(size_bytes)
        self._copy = driver.allocate(self.shared_bytes)
        try:
            driver.fill(self._copy, POISON)
            self._block, self.fd = _share(driver, bytearray([POISON]) * self.shared_bytes)
        except BaseException:
            driver.free(self._copy)
            raise

    def poison(self) -> None:
        """Leave nothing of the last reply, before the next request.

        Raises:
            DeviceError: if the driver refuses.
        """
        self._driver.fill(self._block, POISON)

    def snapshot(self) -> None:
        """Copy the reply to where the box cannot reach; the clock stops when this is done.

        Always the whole of it, so that the time it takes says nothing about the reply and can be
        calibrated with an empty call.

        Raises:
            DeviceError: if the driver refuses.
        """
        self._driver.copy(self._block, self._copy)
        self._driver.synchronize()

    def read(self, form: Any, room_bytes: int | None = None) -> torch.Tensor:  # noqa: ANN401 - a header that the box claims
        """Return the tensor under a claimed header, from the last snapshot.

        Raises:
            ChannelError: if the header is not one, reaches outside the memory, or needs more room.
            DeviceError: if the driver refuses.
        """
        header = believe(form, self._size_bytes, room_bytes)
        raw = self._driver.read(self._copy, header.span_bytes, offset=header.offset)
        return tensor_of(raw, header)

    def close(self) -> None:
        """Let go of the memory."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._driver.free, self._copy)
            _unshare(self._driver, self._block, self.fd)


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
