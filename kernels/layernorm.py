"""LayerNorm with weight and bias, forward and backward, as torch defines it.

Takes: a matrix of rows, a weight and a bias per column. Gives: `y = (x − mean) · rstd · w + b` with
`rstd = 1 / √(var + eps)` (the variance divides by H), and mean and rstd for the backward pass; then
dx, dw and db. Does not cover: rows longer than 8192 (a row stays in registers).

The idea: as `rmsnorm`, 8 operations an element (intensity 1 in fp32). The variance is the mean of
(x − mean)², from the row in registers, after the mean is known. The shortcut E[x²] − E[x]² needs
one pass less and is wrong: with a mean of 10⁴ and a variance of 1 it subtracts two numbers of 10⁸
that agree in all the digits that fp32 has. As the row is in registers, the right way costs no
traffic.

Backward, with x̂ = (x − mean) · rstd and g = dy · w: dx = rstd · (g − mean(g) − x̂ · mean(g · x̂)),
dw = Σ dy · x̂, db = Σ dy down the columns. Each program walks many rows and keeps both sums in fp32
registers; the partial sums are added at the end.

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


def naive_layernorm(
    x_MH: torch.Tensor, w_H: torch.Tensor, b_H: torch.Tensor, *, eps: float
) -> torch.Tensor:
    """Return the normalised rows in fp64; autograd of this is the oracle of the gradients."""
    x_MH, w_H, b_H = x_MH.double(), w_H.double(), b_H.double()
    centred_MH = x_MH - x_MH.mean(dim=1, keepdim=True)
    variance_M1 = centred_MH.square().mean(dim=1, keepdim=True)
    return centred_MH * torch.rsqrt(variance_M1 + eps) * w_H + b_H


@triton.jit
def _layernorm_kernel(
    x_MH,
    w_H,
    b_H,
    y_MH,
    mean_M,
    rstd_M,
    H,
    eps,
    stride_xm,
    stride_xh,
    stride_w,
    stride_b,
    stride_ym,
    BLOCK_N: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    h = tl.arange(0, BLOCK_N).to(tl.int64)
    x = tl.load(x_MH + row * stride_xm + h * stride_xh, mask=h < H, other=0.0).to(tl.float32)
    w = tl.load(w_H + h * stride_w, mask=h < H, other=0.0).to(tl.float32)
    b = tl.load(b_H + h * stride_b, mask=h < H, other=0.0).to(tl.float32)
    mean = tl.sum(x) / H
    centred = tl.where(h < H, x - mean, 0.0)  # else lanes behind the row would add mean²
    rstd = 1.0 / tl.sqrt_rn(tl.sum(centred * centred) / H + eps)
    tl.store(y_MH + row * stride_ym + h, centred * rstd * w + b, mask=h < H)
    tl.store(mean_M + row, mean)
    tl.store(rstd_M + row, rstd)


@triton.jit
def _layernorm_backward_kernel(
    dy_MH,
    x_MH,
    w_H,
    mean_M,
    rstd_M,
    dx_MH,
    dwb_P2H,
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
    db = tl.zeros((BLOCK_N,), dtype=tl.float32)
    for row in range(first, M, tl.num_programs(0)):
        dy = tl.load(dy_MH + row * stride_dym + h * stride_dyh, mask=h < H, other=0.0)
        x = tl.load(x_MH + row * stride_xm + h * stride_xh, mask=h < H, other=0.0)
        rstd = tl.load(rstd_M + row)
        dy = dy.to(tl.float32)
        normal = (x.to(tl.float32) - tl.load(mean_M + row)) * rstd
        dw += dy * normal
        db += dy
        g = dy * w  # 0 behind the row, so both means are of the row alone
        dx = rstd * (g - tl.sum(g) / H - normal * (tl.sum(g * normal) / H))
        tl.store(dx_MH + row * stride_dxm + h, dx, mask=h < H)
    tl.store(dwb_P2H + first * 2 * H + h, dw, mask=h < H)
    tl.store(dwb_P2H + (first * 2 + 1) * H + h, db, mask=h < H)


def _check(x_MH: torch.Tensor, **weights: torch.Tensor) -> None:
    check_tensor("x", x_MH, rank=2, dtypes=FLOATS)
    width = x_MH.shape[1]
    for name, tensor in weights.items():
        check_tensor(name, tensor, rank=1, dtypes=FLOATS)
        check_shape(name, tensor, (width,))
        check_device(name, tensor, x_MH)
    require(0 < width <= LARGEST_ROW, f"x: expected 1 to {LARGEST_ROW} columns, got {width}")


def layernorm(
    x_MH: torch.Tensor, w_H: torch.Tensor, b_H: torch.Tensor, *, eps: float = 1e-5
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the normalised rows, in the dtype of x and contiguous, and mean and rstd in fp32.

    Args:
        x_MH: fp16, bf16 or fp32, any strides.
        w_H: fp16, bf16 or fp32.
        b_H: fp16, bf16 or fp32.
        eps: inside the square root, at least 0.

    Raises:
        ValueError: rank, shape, dtype or device do not fit, or eps is negative; the caller's fault.
    """
    _check(x_MH, w=w_H, b=b_H)
    require(eps >= 0, f"eps: expected at least 0, got {eps}")
    M, H = x_MH.shape
    y_MH = torch.empty((M, H), dtype=x_MH.dtype, device=x_MH.device)
    mean_M, rstd_M = torch.empty((2, M), dtype=torch.float32, device=x_MH.device)
    if M:
        _layernorm_kernel[(M,)](
            *(x_MH, w_H, b_H, y_MH, mean_M, rstd_M, H, eps),
            *(*x_MH.stride(), w_H.stride(0), b_H.stride(0), y_MH.stride(0)),
            **row_launch(H, largest=LARGEST_ROW),
        )
    return y_MH, mean_M, rstd_M


def layernorm_backward(
    dy_MH: torch.Tensor,
    x_MH: torch.Tensor,
    *,
    w_H: torch.Tensor,
    mean_M: torch.Tensor,
    rstd_M: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return dx, like x and contiguous; dw and db, like w, summed in fp32.

    Args:
        dy_MH: gradient of y, like x, any strides.
        x_MH: as in the forward pass.
        w_H: as in the forward pass.
        mean_M: from the forward pass.
        rstd_M: from the forward pass.

    Raises:
        ValueError: rank, shape, dtype or device do not fit; the caller's fault.
    """
    _check(x_MH, w=w_H)
    check_like("dy", dy_MH, x_MH)
    M, H = x_MH.shape
    for name, tensor in (("mean", mean_M), ("rstd", rstd_M)):
        check_tensor(name, tensor, rank=1, dtypes=(torch.float32,))
        check_shape(name, tensor, (M,))
        check_device(name, tensor, x_MH)
    programs = min(M, choose(PROGRAMS)["P"])
    dx_MH = torch.empty((M, H), dtype=x_MH.dtype, device=x_MH.device)
    dwb_P2H = torch.empty((programs, 2, H), dtype=torch.float32, device=x_MH.device)
    if M:
        _layernorm_backward_kernel[(programs,)](
            *(dy_MH, x_MH, w_H, mean_M.contiguous(), rstd_M.contiguous(), dx_MH, dwb_P2H, M, H),
            *(*dy_MH.stride(), *x_MH.stride(), w_H.stride(0), dx_MH.stride(0)),
            **row_launch(H, largest=LARGEST_ROW),
        )
    dw_H, db_H = column_sum(dwb_P2H.view(programs, 2 * H), dtype=w_H.dtype).view(2, H)
    return dx_MH, dw_H, db_H


def bytes_moved(*, rows: int, columns: int, element_bytes: int, backward: bool = False) -> int:
    """Return the bytes that must cross device memory: matrices, weights, mean and rstd."""
    matrices = 3 if backward else 2
    weights = 3 if backward else 2
    return (matrices * rows + weights) * columns * element_bytes + 8 * rows


def flops(*, rows: int, columns: int, backward: bool = False) -> int:
    """Return the operations: 8 for each element forward, 13 backward."""
    return (13 if backward else 8) * rows * columns
