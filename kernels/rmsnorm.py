"""RMSNorm, forward and backward: `y = x · rstd · w` with `rstd = 1 / √(mean(x²) + eps)`.

Takes: a matrix of rows and one weight per column. Gives: the normalised rows and `rstd`, which the
backward pass wants; then dx and dw. Does not cover: rows longer than 8192 (a row stays in
registers); a bias (`layernorm` has one).

The idea: forward is one program per row, one read, one write, 4 operations an element (intensity
1/2 in fp32). Backward, with x̂ = x · rstd and g = dy · w: dx = rstd · (g − x̂ · mean(g · x̂)) is
again a matter of one row, but dw = Σ dy · x̂ is a sum down the columns, over all rows. So backward
has few programs, each walks many rows with its own dw in fp32 registers, and writes it once; the
partial sums, a few hundred rows, are added at the end. No atomics: the result is the same in every
run.

Shapes: M rows, H columns (hidden size), P programs of the backward pass.
"""

import torch
import triton
import triton.language as tl

from .checks import FLOATS, check_device, check_like, check_shape, check_tensor, require
from .launch import choose, row_launch
from .sums import column_sum

LARGEST_ROW = 8192
"""A longer row spills in the backward pass: 16 warps hold 16 elements of each tensor per thread."""
PROGRAMS = {75: {"P": 80}, 80: {"P": 216}, 90: {"P": 264}}
"""Programs of the backward pass: two for each multiprocessor of a T4, an A100, an H100."""


def naive_rmsnorm(x_MH: torch.Tensor, w_H: torch.Tensor, *, eps: float) -> torch.Tensor:
    """Return the normalised rows in fp64; autograd of this is the oracle of the gradients."""
    x_MH, w_H = x_MH.double(), w_H.double()
    return x_MH * torch.rsqrt(x_MH.square().mean(dim=1, keepdim=True) + eps) * w_H


@triton.jit
def _rmsnorm_kernel(
    x_MH,
    w_H,
    y_MH,
    rstd_M,
    H,
    eps,
    stride_xm,
    stride_xh,
    stride_w,
    stride_ym,
    BLOCK_N: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    h = tl.arange(0, BLOCK_N).to(tl.int64)
    # Lanes behind the row are 0: they add nothing to the squares, and the mean divides by H.
    x = tl.load(x_MH + row * stride_xm + h * stride_xh, mask=h < H, other=0.0).to(tl.float32)
    w = tl.load(w_H + h * stride_w, mask=h < H, other=0.0).to(tl.float32)
    rstd = 1.0 / tl.sqrt_rn(tl.sum(x * x) / H + eps)
    tl.store(y_MH + row * stride_ym + h, x * rstd * w, mask=h < H)
    tl.store(rstd_M + row, rstd)


@triton.jit
def _rmsnorm_backward_kernel(
    dy_MH,
    x_MH,
    w_H,
    rstd_M,
    dx_MH,
    dw_PH,
    M,
    H,
    stride_dym,
    stride_dyh,
    stride_xm,
    stride_xh,
    stride_w,
    stride_dxm,
    BLOCK_N: tl.constexpr,
):
    first = tl.program_id(0).to(tl.int64)
    h = tl.arange(0, BLOCK_N).to(tl.int64)
    w = tl.load(w_H + h * stride_w, mask=h < H, other=0.0).to(tl.float32)
    dw = tl.zeros((BLOCK_N,), dtype=tl.float32)
    for row in range(first, M, tl.num_programs(0)):
        dy = tl.load(dy_MH + row * stride_dym + h * stride_dyh, mask=h < H, other=0.0)
        x = tl.load(x_MH + row * stride_xm + h * stride_xh, mask=h < H, other=0.0)
        rstd = tl.load(rstd_M + row)
        dy = dy.to(tl.float32)
        normal = x.to(tl.float32) * rstd
        dw += dy * normal
        g = dy * w
        dx = rstd * (g - normal * (tl.sum(g * normal) / H))
        tl.store(dx_MH + row * stride_dxm + h, dx, mask=h < H)
    tl.store(dw_PH + first * H + h, dw, mask=h < H)


def _check(x_MH: torch.Tensor, w_H: torch.Tensor) -> None:
    check_tensor("x", x_MH, rank=2, dtypes=FLOATS)
    check_tensor("w", w_H, rank=1, dtypes=FLOATS)
    check_shape("w", w_H, (x_MH.shape[1],))
    check_device("w", w_H, x_MH)
    width = x_MH.shape[1]
    require(0 < width <= LARGEST_ROW, f"x: expected 1 to {LARGEST_ROW} columns, got {width}")


def rmsnorm(
    x_MH: torch.Tensor, w_H: torch.Tensor, *, eps: float = 1e-6
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the normalised rows, in the dtype of x and contiguous, and `rstd_M` in fp32.

    Args:
        x_MH: fp16, bf16 or fp32, any strides.
        w_H: fp16, bf16 or fp32.
        eps: inside the square root, at least 0.

    Raises:
        ValueError: rank, shape, dtype or device do not fit, or eps is negative; the caller's fault.
    """
    _check(x_MH, w_H)
    require(eps >= 0, f"eps: expected at least 0, got {eps}")
    M, H = x_MH.shape
    y_MH = torch.empty((M, H), dtype=x_MH.dtype, device=x_MH.device)
    rstd_M = torch.empty(M, dtype=torch.float32, device=x_MH.device)
    if M:
        launch = row_launch(H, largest=LARGEST_ROW)
        _rmsnorm_kernel[(M,)](
            *(x_MH, w_H, y_MH, rstd_M, H, eps),
            *(*x_MH.stride(), w_H.stride(0), y_MH.stride(0)),
            **launch,
        )
    return y_MH, rstd_M


def rmsnorm_backward(
    dy_MH: torch.Tensor, x_MH: torch.Tensor, w_H: torch.Tensor, rstd_M: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return dx, like x and contiguous, and dw, like w, summed in fp32.

    Args:
        dy_MH: gradient of y, like x, any strides.
        x_MH: as in the forward pass.
        w_H: as in the forward pass.
        rstd_M: from the forward pass.

    Raises:
        ValueError: rank, shape, dtype or device do not fit; the caller's fault.
    """
    _check(x_MH, w_H)
    check_like("dy", dy_MH, x_MH)
    check_tensor("rstd", rstd_M, rank=1, dtypes=(torch.float32,))
    check_shape("rstd", rstd_M, (x_MH.shape[0],))
    check_device("rstd", rstd_M, x_MH)
    M, H = x_MH.shape
    programs = min(M, choose(PROGRAMS)["P"])
    dx_MH = torch.empty((M, H), dtype=x_MH.dtype, device=x_MH.device)
    dw_PH = torch.empty((programs, H), dtype=torch.float32, device=x_MH.device)
    if M:
        _rmsnorm_backward_kernel[(programs,)](
            *(dy_MH, x_MH, w_H, rstd_M.contiguous(), dx_MH, dw_PH, M, H),
            *(*dy_MH.stride(), *x_MH.stride(), w_H.stride(0), dx_MH.stride(0)),
            **row_launch(H, largest=LARGEST_ROW),
        )
    return dx_MH, column_sum(dw_PH, dtype=w_H.dtype)


def bytes_moved(*, rows: int, columns: int, element_bytes: int, backward: bool = False) -> int:
    """Return the bytes that must cross device memory: x and y, or dy, x and dx; weight, rstd."""
    matrices = 3 if backward else 2
    weights = 2 if backward else 1
    return (matrices * rows + weights) * columns * element_bytes + 4 * rows


def flops(*, rows: int, columns: int, backward: bool = False) -> int:
    """Return the operations: 4 for each element forward, 9 backward."""
    return (9 if backward else 4) * rows * columns
