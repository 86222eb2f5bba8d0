"""Sums that kernels leave in parts: down the columns of a matrix.

Takes: partial sums in fp32, one row for each program that made them. Gives: their sum, rounded once
to the dtype of the result. Does not cover: long matrices (P is a few hundred at most; a program
walks down all of its columns).

No atomics: the order of a sum, and so its rounding, is the same in every run.

Shapes: P partial sums, H columns.
"""

import torch
import triton
import triton.language as tl

from .launch import choose

LAUNCHES = {
    75: {"BLOCK_P": 8, "BLOCK_H": 256, "num_warps": 4},
    80: {"BLOCK_P": 32, "BLOCK_H": 32, "num_warps": 4},
    90: {"BLOCK_P": 32, "BLOCK_H": 32, "num_warps": 4},
}
"""Narrow blocks make many programs of few columns; the smaller device gets along with fewer."""


@triton.jit
def _column_sum_kernel(part_PH, sum_H, P, H, BLOCK_P: tl.constexpr, BLOCK_H: tl.constexpr):
    h = tl.program_id(0) * BLOCK_H + tl.arange(0, BLOCK_H)
    total = tl.zeros((BLOCK_P, BLOCK_H), dtype=tl.float32)
    for start in range(0, P, BLOCK_P):
        p = start + tl.arange(0, BLOCK_P)
        inside = (p[:, None] < P) & (h[None, :] < H)
        total += tl.load(part_PH + p[:, None] * H + h[None, :], mask=inside, other=0.0)
    tl.store(sum_H + h, tl.sum(total, axis=0), mask=h < H)


def column_sum(part_PH: torch.Tensor, *, dtype: torch.dtype) -> torch.Tensor:
    """Return the sum of each column, 0 if there are no rows.

    Args:
        part_PH: fp32, contiguous, fewer than 2³¹ elements.
        dtype: of the result.
    """
    P, H = part_PH.shape
    sum_H = torch.empty(H, dtype=dtype, device=part_PH.device)
    launch = choose(LAUNCHES)
    _column_sum_kernel[(triton.cdiv(H, launch["BLOCK_H"]),)](part_PH, sum_H, P, H, **launch)
    return sum_H
