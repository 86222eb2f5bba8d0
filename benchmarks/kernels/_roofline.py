"""The two rates that bound every kernel, measured in the same rounds, and what is left of them.

Takes: a device, times. Gives: contenders that copy and multiply, `Ceilings`, a floor on the time of
a case. Does not cover: operations on other units than the tensor cores: where those decide
(exponentials in attention), the floor is lower than what can be reached.
"""

from dataclasses import dataclass

import torch

from benchmarks.kernels._case import COPY, Case, Contender
from benchmarks.kernels._device import Device
from benchmarks.kernels._rounds import Seconds, median

MATMUL = "matmul 8192³"
COPIED_BYTES = 1 << 30
TINY_COPIED_BYTES = 1 << 20
WIDTH, TINY_WIDTH = 8192, 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceilings:
    """What the device reached beside the kernels.

    Attributes:
        bytes_per_s: of a copy, its read and its write counted.
        flops_per_s: of a square product in half precision with fp32 accumulation.
    """

    bytes_per_s: float
    flops_per_s: float

    def floor_s(self, case: Case) -> float:
        """Return the least time that a case can take at these rates, in s.

        Source: Williams, Waterman and Patterson, "Roofline" (2009).
        """
        return max(case.bytes_moved / self.bytes_per_s, case.flops / self.flops_per_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Yardsticks:
    """The two contenders of every case that set its ceilings, and how much they do.

    Attributes:
        contenders: the copy, the product.
        bytes_moved: by the copy.
        flops: of the product.
    """

    contenders: tuple[Contender, Contender]
    bytes_moved: int
    flops: int

    def ceilings(self, copy_s: Seconds, matmul_s: Seconds) -> Ceilings:
        """Return the rates, of times in s by round."""
        return Ceilings(
            bytes_per_s=self.bytes_moved / median(copy_s).estimate,
            flops_per_s=self.flops / median(matmul_s).estimate,
        )


def make_yardsticks(device: Device) -> Yardsticks:
    """Return the yardsticks of a device; random numbers, as zeros run faster than any data."""
    count = (COPIED_BYTES if device.counts else TINY_COPIED_BYTES) // 4
    width = WIDTH if device.counts else TINY_WIDTH
    source = torch.rand(count, device=device.kind)
    target = torch.empty_like(source)
    left, right = torch.rand(2, width, width, device=device.kind).sub_(0.5).to(device.half)
    out = torch.empty_like(left)
    return Yardsticks(
        contenders=(
            Contender(name=COPY, call=lambda: target.copy_(source)),
            Contender(name=MATMUL, call=lambda: torch.mm(left, right, out=out)),
        ),
        bytes_moved=2 * 4 * count,
        flops=2 * width**3,
    )
