"""Mean cross-entropy of rows of logits and its gradient, in one kernel, in place if wanted.

Takes: logits, one target per row. Gives: the loss, and the gradient of the loss, written over the
logits (`cross_entropy`) or into a tensor of the caller's (`cross_entropy_into`). Does not cover:
label smoothing, class weights, targets that are probabilities.

The idea: the gradient of a row is (softmax − one-hot) / kept rows, so whoever has the log-sum-exp
of a row has its gradient. One program per row reads the row once for the log-sum-exp (running
maximum, running sum, as in `softmax`) and once more, from L2 if it is still there, to overwrite it
with its gradient. With a vocabulary of 50257 the logits are by far the largest tensor of a training
step; this holds no second one: beyond the logits it takes a few bytes per row. About 8 operations
for 3 moved elements: memory decides.

As in torch, the mean is over the rows that are kept; if all are ignored, the loss is NaN (0/0) and
the gradient 0. A target out of range is not read out of bounds: it makes the loss NaN.
`check_targets` finds one, at the price of waiting for the device.

Shapes: M rows, V columns (vocabulary).
"""

import torch
import triton
import triton.language as tl

from .checks import FLOATS, check_device, check_like, check_shape, check_tensor, require
from .launch import choose, row_launch

LARGEST = {75: {"BLOCK_N": 2048}, 80: {"BLOCK_N": 4096}, 90: {"BLOCK_N": 4096}}
"""Columns in one step of the loop over a row."""
ONE_PROGRAM = {"BLOCK_M": 2048, "num_warps": 8}
"""Rows in one step of the loops that count the rows and add their losses."""


def naive_cross_entropy(
    x_MV: torch.Tensor, target_M: torch.Tensor, *, ignore_index: int = -100
) -> torch.Tensor:
    """Return the loss in fp64; autograd of this is the oracle of the gradient."""
    kept_M = target_M != ignore_index
    logp_MV = x_MV.double() - torch.logsumexp(x_MV.double(), dim=1, keepdim=True)
    at_M1 = torch.where(kept_M, target_M, 0)[:, None].long()
    picked_M = logp_MV.gather(1, at_M1)[:, 0]
    return -torch.where(kept_M, picked_M, 0.0).sum() / kept_M.sum()


@triton.jit
def _cross_entropy_kernel(
    x_MV,
    target_M,
    kept,
    loss_M,
    dx_MV,
    V,
    ignore_index,
    stride_xm,
    stride_xv,
    stride_t,
    stride_dm,
    stride_dv,
    BLOCK_N: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    x_V = x_MV + row * stride_xm
    lanes = tl.arange(0, BLOCK_N).to(tl.int64)
    target = tl.load(target_M + row * stride_t).to(tl.int64)
    is_kept = target != ignore_index
    known = (target >= 0) & (target < V)
    # Before the loops: in place the second one overwrites it, and only the reductions of the first,
    # which all warps must reach, keep a fast warp from doing so under the eyes of a slow one.
    picked = tl.load(x_V + target * stride_xv, mask=known, other=float("nan")).to(tl.float32)
    top = -float("inf")
    total = 0.0
    for start in range(0, V, BLOCK_N):
        v = start + lanes
        x = tl.load(x_V + v * stride_xv, mask=v < V, other=-float("inf")).to(tl.float32)
        new_top = tl.maximum(top, tl.max(x))
        shift = tl.where(new_top == -float("inf"), 0.0, new_top)
        total = total * tl.exp(top - shift) + tl.sum(tl.exp(x - shift))
        top = new_top
    # Subtract twice rather than form the log-sum-exp: top may be large, log(total) never is.
    tl.store(loss_M + row, tl.where(is_kept, tl.log(total) + (top - picked), 0.0))
    weight = tl.where(is_kept, 1.0 / tl.load(kept).to(tl.float32), 0.0)
    for start in range(0, V, BLOCK_N):
        v = start + lanes
        x = tl.load(x_V + v * stride_xv, mask=v < V, other=-float("inf")).to(tl.float32)
        gradient = (tl.exp(x - top) / total - tl.where(v == target, 1.0, 0.0)) * weight
        gradient = tl.where(is_kept, gradient, 0.0)  # an ignored row may hold NaN
        tl.store(dx_MV + row * stride_dm + v * stride_dv, gradient, mask=v < V)


@triton.jit
def _count_kernel(target_M, kept, M, ignore_index, stride_t, BLOCK_M: tl.constexpr):
    """Write how many rows are kept; one program, so that the count needs no atomics."""
    count = tl.zeros((BLOCK_M,), dtype=tl.int32)
    for start in range(0, M, BLOCK_M):
        m = start + tl.arange(0, BLOCK_M).to(tl.int64)
        target = tl.load(target_M + m * stride_t, mask=m < M, other=0).to(tl.int64)
        count += ((target != ignore_index) & (m < M)).to(tl.int32)
    tl.store(kept, tl.sum(count))


@triton.jit
def _mean_kernel(loss_M, kept, mean, M, BLOCK_M: tl.constexpr):
    """Write the sum of the losses over the number of kept rows; one program."""
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    for start in range(0, M, BLOCK_M):
        m = start + tl.arange(0, BLOCK_M)
        total += tl.load(loss_M + m, mask=m < M, other=0.0)
    tl.store(mean, tl.sum(total) / tl.load(kept).to(tl.float32))


def check_targets(target_M: torch.Tensor, *, columns: int, ignore_index: int = -100) -> None:
    """Check that all targets are columns or ignored; waits for the device.

    Raises:
        ValueError: one is neither; the caller's fault.
    """
    known_M = ((target_M >= 0) & (target_M < columns)) | (target_M == ignore_index)
    bad = target_M[~known_M]
    require(
        not bad.numel(),
        f"target: expected 0 to {columns - 1} or {ignore_index}, got {bad[:1].tolist()}",
    )


def cross_entropy_into(
    x_MV: torch.Tensor,
    target_M: torch.Tensor,
    dx_MV: torch.Tensor,
    *,
    ignore_index: int = -100,
) -> torch.Tensor:
    """Write the gradient to `dx_MV` and return the mean loss, a scalar in fp32.

    Args:
        x_MV: logits, fp16, bf16 or fp32, any strides.
        target_M: int32 or int64; columns of x, or `ignore_index`.
        dx_MV: like x, with a place of its own for each element; it may be x itself.
        ignore_index: rows with this target count neither in the sum nor in the mean.

    Raises:
        ValueError: rank, shape, dtype or device do not fit, or elements of dx overlap; the
            caller's fault.
    """
    check_tensor("x", x_MV, rank=2, dtypes=FLOATS)
    check_like("dx", dx_MV, x_MV)
    M, V = x_MV.shape
    require(V > 0, "x: expected at least one column, got 0")
    check_tensor("target", target_M, rank=1, dtypes=(torch.int32, torch.int64))
    check_shape("target", target_M, (M,))
    check_device("target", target_M, x_MV)
    overlap = any(
        size > 1 and not step for size, step in zip(dx_MV.shape, dx_MV.stride(), strict=True)
    )
    require(not overlap, "dx: expected a place of its own for each element, got a stride of 0")
    loss_M = torch.empty(M, dtype=torch.float32, device=x_MV.device)
    mean = torch.empty((), dtype=torch.float32, device=x_MV.device)
    kept = torch.empty((), dtype=torch.int32, device=x_MV.device)
    _count_kernel[(1,)](target_M, kept, M, ignore_index, target_M.stride(0), **ONE_PROGRAM)
    if M:
        _cross_entropy_kernel[(M,)](
            *(x_MV, target_M, kept, loss_M, dx_MV, V, ignore_index),
            *(*x_MV.stride(), target_M.stride(0), *dx_MV.stride()),
            **row_launch(V, largest=choose(LARGEST)["BLOCK_N"]),
        )
    _mean_kernel[(1,)](loss_M, kept, mean, M, **ONE_PROGRAM)
    return mean


def cross_entropy(
    x_MV: torch.Tensor, target_M: torch.Tensor, *, ignore_index: int = -100
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean loss, a scalar in fp32, and the tensor x, which now holds the gradient.

    Args:
        x_MV: logits, fp16, bf16 or fp32, any strides without overlap; overwritten.
        target_M: int32 or int64; columns of x, or `ignore_index`.
        ignore_index: rows with this target count neither in the sum nor in the mean.

    Raises:
        ValueError: as `cross_entropy_into`; the caller's fault.
    """
    return cross_entropy_into(x_MV, target_M, x_MV, ignore_index=ignore_index), x_MV


def bytes_moved(*, rows: int, columns: int, element_bytes: int) -> int:
    """Return the bytes that must cross device memory: a read, a write; 16 for each row.

    A row that has left the caches between its two passes costs another read.
    """
    return 2 * rows * columns * element_bytes + 16 * rows


def flops(*, rows: int, columns: int) -> int:
    """Return the operations: 3 for each element in the first pass, 5 in the second."""
    return 8 * rows * columns
