"""`out = x + y` for matrices of any shape and strides: the first kernel.

Takes: two matrices of one shape and dtype. Gives: their sum, laid out as `x`. Does not cover:
broadcasting by shape (a stride of 0, as `expand` makes it, is fine); mixed dtypes.

The idea: a grid of programs, each with a tile of its own, and a mask where a tile hangs over the
edge. One addition for every 12 bytes (fp32: two loads, a store) is an intensity of 1/12; a GPU does
ten or more operations in the time of one byte, so all that counts is that neighbouring threads
touch neighbouring addresses. Hence two preparations on the host, which cost nothing: a matrix whose
rows are the dense axis is handled as its transpose, and three dense matrices as one long row.

Shapes: M rows, N columns.
"""

import torch
import triton
import triton.language as tl

from .checks import FLOATS, check_like, check_tensor
from .launch import choose

TILES = {
    75: {"BLOCK_M": 16, "BLOCK_N": 64, "num_warps": 4},
    80: {"BLOCK_M": 32, "BLOCK_N": 64, "num_warps": 4},
    90: {"BLOCK_M": 32, "BLOCK_N": 64, "num_warps": 4},
}
LONG_ROWS = {
    75: {"BLOCK_M": 1, "BLOCK_N": 1024, "num_warps": 4},
    80: {"BLOCK_M": 1, "BLOCK_N": 2048, "num_warps": 4},
    90: {"BLOCK_M": 1, "BLOCK_N": 2048, "num_warps": 4},
}
"""A thread's share is 8 or 16 elements: some 16-byte loads in flight before the first store."""


def naive_matrix_add(x_MN: torch.Tensor, y_MN: torch.Tensor) -> torch.Tensor:
    """Return the sum, in fp64 and rounded once."""
    return (x_MN.double() + y_MN.double()).to(x_MN.dtype)


@triton.jit
def _matrix_add_kernel(
    x_MN,
    y_MN,
    out_MN,
    M,
    N,
    stride_xm,
    stride_xn,
    stride_ym,
    stride_yn,
    stride_om,
    stride_on,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    # 64 bits from the first step: an offset of more than 2³¹ elements wraps around in 32.
    tile = tl.program_id(0).to(tl.int64)
    tiles_n = tl.cdiv(N, BLOCK_N)
    m = (tile // tiles_n * BLOCK_M + tl.arange(0, BLOCK_M))[:, None]
    n = (tile % tiles_n * BLOCK_N + tl.arange(0, BLOCK_N))[None, :]
    inside = (m < M) & (n < N)
    x = tl.load(x_MN + m * stride_xm + n * stride_xn, mask=inside).to(tl.float32)
    y = tl.load(y_MN + m * stride_ym + n * stride_yn, mask=inside).to(tl.float32)
    tl.store(out_MN + m * stride_om + n * stride_on, x + y, mask=inside)


def matrix_add(x_MN: torch.Tensor, y_MN: torch.Tensor) -> torch.Tensor:
    """Return `x + y`.

    Args:
        x_MN: fp16, bf16 or fp32, any strides.
        y_MN: the same shape, dtype and device, any strides.

    Raises:
        ValueError: rank, shape, dtype or device do not fit; the caller's fault.
    """
    check_tensor("x", x_MN, rank=2, dtypes=FLOATS)
    check_like("y", y_MN, x_MN)
    out_MN = torch.empty_like(x_MN)  # keeps the order of the strides of x
    if not out_MN.numel():
        return out_MN
    x, y, out = x_MN, y_MN, out_MN
    if out.stride(0) < out.stride(1):
        x, y, out = x.T, y.T, out.T
    launches = TILES
    if all(matrix.is_contiguous() for matrix in (x, y, out)):
        x, y, out = (matrix.reshape(1, -1) for matrix in (x, y, out))
        launches = LONG_ROWS
    launch = choose(launches)
    M, N = out.shape
    grid = (triton.cdiv(M, launch["BLOCK_M"]) * triton.cdiv(N, launch["BLOCK_N"]),)
    _matrix_add_kernel[grid](x, y, out, M, N, *x.stride(), *y.stride(), *out.stride(), **launch)
    return out_MN


def bytes_moved(*, rows: int, columns: int, element_bytes: int) -> int:
    """Return the bytes that must cross device memory: two reads, one write."""
    return 3 * rows * columns * element_bytes


def flops(*, rows: int, columns: int) -> int:
    """Return the additions."""
    return rows * columns
