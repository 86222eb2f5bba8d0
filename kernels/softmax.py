"""Softmax over the last dimension of a matrix, in fp32 whatever the dtype.

Takes: logits, any strides. Gives: probabilities, contiguous, in the dtype of the logits. Does not
cover: the gradient (`cross_entropy` has it fused with its loss).

The idea: one program per row. A row that fits in a block is read once and stays in registers. A
longer one is read twice: the first pass keeps a running maximum m and the running sum of exp(x −
m), rescaled by exp(m_old − m_new) whenever m grows; the second writes exp(x − m) / sum. About 5
operations for every read and written element, an intensity near 1 (fp32: 5/8): memory decides, and
the loop for long rows costs 1.5 times the traffic.

Two rules of masks: lanes behind the row hold −inf (0 would be a logit like any other), and a
running maximum that is still −inf must not be subtracted (−inf − (−inf) is NaN, and would stay). A
row of nothing but −inf is NaN at the end, 0/0, as in torch.

Shapes: M rows, N columns.
"""

import torch
import triton
import triton.language as tl

from .checks import FLOATS, check_tensor, require
from .launch import choose, row_launch

LARGEST = {75: {"BLOCK_N": 4096}, 80: {"BLOCK_N": 16384}, 90: {"BLOCK_N": 16384}}
"""The longest row that stays in registers."""


def naive_softmax(x_MN: torch.Tensor) -> torch.Tensor:
    """Return the softmax of each row in fp64."""
    x_MN = x_MN.double()
    weights_MN = torch.exp(x_MN - x_MN.amax(dim=1, keepdim=True))
    return weights_MN / weights_MN.sum(dim=1, keepdim=True)


@triton.jit
def _softmax_kernel(
    x_MN,
    out_MN,
    N,
    stride_xm,
    stride_xn,
    stride_om,
    BLOCK_N: tl.constexpr,
    ONE_BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    x_N = x_MN + row * stride_xm
    out_N = out_MN + row * stride_om
    lanes = tl.arange(0, BLOCK_N).to(tl.int64)
    if ONE_BLOCK:
        x = tl.load(x_N + lanes * stride_xn, mask=lanes < N, other=-float("inf")).to(tl.float32)
        weights = tl.exp(x - tl.max(x))
        tl.store(out_N + lanes, weights / tl.sum(weights), mask=lanes < N)
    else:
        top = -float("inf")
        total = 0.0
        for start in range(0, N, BLOCK_N):
            n = start + lanes
            x = tl.load(x_N + n * stride_xn, mask=n < N, other=-float("inf")).to(tl.float32)
            new_top = tl.maximum(top, tl.max(x))
            shift = tl.where(new_top == -float("inf"), 0.0, new_top)
            total = total * tl.exp(top - shift) + tl.sum(tl.exp(x - shift))
            top = new_top
        shift = tl.where(top == -float("inf"), 0.0, top)
        for start in range(0, N, BLOCK_N):
            n = start + lanes
            x = tl.load(x_N + n * stride_xn, mask=n < N, other=-float("inf")).to(tl.float32)
            tl.store(out_N + n, tl.exp(x - shift) / total, mask=n < N)


def softmax(x_MN: torch.Tensor) -> torch.Tensor:
    """Return the softmax of each row.

    Args:
        x_MN: logits, fp16, bf16 or fp32, any strides; N of at least 1.

    Raises:
        ValueError: rank, dtype or width do not fit; the caller's fault.
    """
    check_tensor("x", x_MN, rank=2, dtypes=FLOATS)
    M, N = x_MN.shape
    require(N > 0, "x: expected at least one column, got 0")
    out_MN = torch.empty((M, N), dtype=x_MN.dtype, device=x_MN.device)
    if M:
        launch = row_launch(N, largest=choose(LARGEST)["BLOCK_N"])
        _softmax_kernel[(M,)](
            *(x_MN, out_MN, N, *x_MN.stride(), out_MN.stride(0)),
            ONE_BLOCK=launch["BLOCK_N"] >= N,
            **launch,
        )
    return out_MN


def bytes_moved(*, rows: int, columns: int, element_bytes: int) -> int:
    """Return the bytes that must cross device memory: one read, one write."""
    return 2 * rows * columns * element_bytes


def flops(*, rows: int, columns: int) -> int:
    """Return the operations: maximum, subtraction, exponential, sum, division."""
    return 5 * rows * columns
