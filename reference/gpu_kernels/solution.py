"""The reference: the kernels of `kernels/` in one file. `build.py` makes it."""

# ruff: noqa: PLR0913 - a kernel has a parameter for each stride of each tensor

from collections.abc import Mapping

import torch
import triton
import triton.language as tl

FLOATS = (torch.float16, torch.bfloat16, torch.float32)


INTEGERS = (torch.int32, torch.int64)


def require(condition: bool, message: str) -> None:
    """Raise ValueError with a message unless a condition holds.

    Raises:
        ValueError: it does not; the caller's fault.
    """
    if not condition:
        raise ValueError(message)


def check_tensor(
    name: str, tensor: torch.Tensor, *, rank: int, dtypes: tuple[torch.dtype, ...]
) -> None:
    """Check that an argument is a tensor of a rank and of one of some dtypes.

    Raises:
        ValueError: it is not; the caller's fault.
    """
    if not isinstance(tensor, torch.Tensor):
        raise ValueError(f"{name}: expected a tensor, got {type(tensor).__name__}")
    require(tensor.dim() == rank, f"{name}: expected rank {rank}, got {tensor.dim()}")
    words = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
    require(tensor.dtype in dtypes, f"{name}: expected {words}, got {tensor.dtype}")


def check_like(name: str, tensor: torch.Tensor, model: torch.Tensor) -> None:
    """Check that an argument has the shape, dtype and device of another.

    Raises:
        ValueError: it has not; the caller's fault.
    """
    check_tensor(name, tensor, rank=model.dim(), dtypes=(model.dtype,))
    check_shape(name, tensor, tuple(model.shape))
    check_device(name, tensor, model)


def check_shape(name: str, tensor: torch.Tensor, shape: tuple[int, ...]) -> None:
    """Check that an argument has a shape.

    Raises:
        ValueError: it has not; the caller's fault.
    """
    require(
        tuple(tensor.shape) == shape, f"{name}: expected shape {shape}, got {tuple(tensor.shape)}"
    )


def check_device(name: str, tensor: torch.Tensor, model: torch.Tensor) -> None:
    """Check that an argument lies on the device of another.

    Raises:
        ValueError: it does not; the caller's fault.
    """
    require(
        tensor.device == model.device,
        f"{name}: expected device {model.device}, got {tensor.device}",
    )


Launch = Mapping[str, int]
"""Keyword arguments of a launch: `BLOCK_…` constants of the kernel, `num_warps`, `num_stages`."""


INTERPRETED: bool = triton.knobs.runtime.interpret
"""Whether this process interprets its kernels; settled when they are imported."""


WARP_THREADS = 32


MAX_WARPS = 16


def architecture() -> int:
    """Return the compute capability, times ten, that the next launch is for.

    The interpreter has none; it gets the smallest blocks, so that small tests have tile borders.
    """
    if INTERPRETED:
        return 75
    return int(triton.runtime.driver.active.get_current_target().arch)


def choose(launches: Mapping[int, Launch]) -> Launch:
    """Return the configuration of the newest architecture that is not newer than the device."""
    here = max(architecture(), min(launches))
    return launches[max(capability for capability in launches if capability <= here)]


def row_launch(columns: int, *, largest: int, per_thread: int = 16) -> Launch:
    """Return a block for one row: a power of two up to `largest`, and the warps to hold it.

    Args:
        columns: of the row.
        largest: block; a longer row needs a loop in the kernel.
        per_thread: elements that a thread should hold, as long as there are warps enough.
    """
    block = min(largest, max(16, triton.next_power_of_2(columns)))
    warps = min(MAX_WARPS, max(1, block // (WARP_THREADS * per_thread)))
    return {"BLOCK_N": block, "num_warps": warps}


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


SOFTMAX_LARGEST = {75: {"BLOCK_N": 4096}, 80: {"BLOCK_N": 16384}, 90: {"BLOCK_N": 16384}}
"""The longest row that stays in registers."""


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
        launch = row_launch(N, largest=choose(SOFTMAX_LARGEST)["BLOCK_N"])
        _softmax_kernel[(M,)](
            *(x_MN, out_MN, N, *x_MN.stride(), out_MN.stride(0)),
            ONE_BLOCK=launch["BLOCK_N"] >= N,
            **launch,
        )
    return out_MN


LARGEST_ROW = 8192
"""A longer row spills in the backward pass: 16 warps hold 16 elements of each tensor per thread."""


PROGRAMS = {75: {"P": 80}, 80: {"P": 216}, 90: {"P": 264}}
"""Programs of the backward pass: two for each multiprocessor of a T4, an A100, an H100."""


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


def _rmsnorm_check(x_MH: torch.Tensor, w_H: torch.Tensor) -> None:
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
    _rmsnorm_check(x_MH, w_H)
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
    _rmsnorm_check(x_MH, w_H)
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


def _layernorm_check(x_MH: torch.Tensor, **weights: torch.Tensor) -> None:
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
    _layernorm_check(x_MH, w=w_H, b=b_H)
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
    _layernorm_check(x_MH, w=w_H)
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


CROSS_ENTROPY_LARGEST = {75: {"BLOCK_N": 2048}, 80: {"BLOCK_N": 4096}, 90: {"BLOCK_N": 4096}}
"""Columns in one step of the loop over a row."""


ONE_PROGRAM = {"BLOCK_M": 2048, "num_warps": 8}
"""Rows in one step of the loops that count the rows and add their losses."""


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
            **row_launch(V, largest=choose(CROSS_ENTROPY_LARGEST)["BLOCK_N"]),
        )
    _mean_kernel[(1,)](loss_M, kept, mean, M, **ONE_PROGRAM)
    return mean


ACTIVATIONS = {"none": 0, "gelu": 1, "gelu_tanh": 2}


HALF = {
    75: {"BLOCK_M": 64, "BLOCK_N": 64, "BLOCK_K": 16, "num_warps": 8, "num_stages": 2},
    80: {"BLOCK_M": 128, "BLOCK_N": 128, "BLOCK_K": 32, "num_warps": 8, "num_stages": 4},
    90: {"BLOCK_M": 128, "BLOCK_N": 256, "BLOCK_K": 64, "num_warps": 8, "num_stages": 4},
}


HALF_GELU = {
    75: {"BLOCK_M": 64, "BLOCK_N": 64, "BLOCK_K": 16, "num_warps": 8, "num_stages": 2},
    80: {"BLOCK_M": 128, "BLOCK_N": 128, "BLOCK_K": 32, "num_warps": 8, "num_stages": 4},
    90: {"BLOCK_M": 128, "BLOCK_N": 128, "BLOCK_K": 64, "num_warps": 8, "num_stages": 4},
}


MATMUL_SINGLE = {
    75: {"BLOCK_M": 64, "BLOCK_N": 32, "BLOCK_K": 16, "num_warps": 4, "num_stages": 2},
    80: {"BLOCK_M": 64, "BLOCK_N": 64, "BLOCK_K": 16, "num_warps": 4, "num_stages": 3},
    90: {"BLOCK_M": 64, "BLOCK_N": 64, "BLOCK_K": 16, "num_warps": 4, "num_stages": 3},
}
"""In fp32 the multiply-adds are a thread's own, and its operands take registers too. So they are on
sm_75 in half precision: for its tensor cores Triton 3.9 compiles nothing. On sm_90 the polynomials
of a GELU do not fit into registers beside an accumulator of 128 × 256."""


GROUP_M = 8


@triton.jit
def _gelu(x):
    """Return x times the normal distribution function of x."""
    return 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))


@triton.jit
def _gelu_tanh(x):
    """Return GELU's approximation by a tanh: (1 + tanh u) / 2 is the sigmoid of 2u."""
    return x * tl.sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x))


@triton.jit
def _matmul_kernel(
    a_MK,
    b_KN,
    bias_N,
    out_MN,
    M,
    N,
    K,
    stride_am,
    stride_ak,
    stride_bk,
    stride_bn,
    stride_bias,
    stride_om,
    HAS_BIAS: tl.constexpr,
    ACTIVATION: tl.constexpr,
    GROUP_M: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    tile = tl.program_id(0)
    tiles_m, tiles_n = tl.cdiv(M, BLOCK_M), tl.cdiv(N, BLOCK_N)
    group = tile // (GROUP_M * tiles_n)
    rows = min(tiles_m - group * GROUP_M, GROUP_M)  # the last group may be lower
    within = tile % (GROUP_M * tiles_n)
    m = (group * GROUP_M + within % rows).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    n = (within // rows).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    k = tl.arange(0, BLOCK_K).to(tl.int64)
    a_mk = a_MK + m[:, None] * stride_am + k[None, :] * stride_ak
    b_kn = b_KN + k[:, None] * stride_bk + n[None, :] * stride_bn
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, K, BLOCK_K):
        left = K - start
        # What hangs over the end of K must be 0 on both sides: NaN times 0 is NaN.
        a = tl.load(a_mk, mask=(m[:, None] < M) & (k[None, :] < left), other=0.0)
        b = tl.load(b_kn, mask=(k[:, None] < left) & (n[None, :] < N), other=0.0)
        acc = tl.dot(a, b, acc, input_precision="ieee")
        a_mk += BLOCK_K * stride_ak
        b_kn += BLOCK_K * stride_bk
    if HAS_BIAS:
        acc += tl.load(bias_N + n * stride_bias, mask=n < N, other=0.0).to(tl.float32)[None, :]
    if ACTIVATION == 1:
        acc = _gelu(acc)
    elif ACTIVATION == 2:
        acc = _gelu_tanh(acc)
    inside = (m[:, None] < M) & (n[None, :] < N)
    tl.store(out_MN + m[:, None] * stride_om + n[None, :], acc, mask=inside)


def matmul(
    a_MK: torch.Tensor,
    b_KN: torch.Tensor,
    bias_N: torch.Tensor | None = None,
    *,
    activation: str = "none",
) -> torch.Tensor:
    """Return the product with its epilogue, in the dtype of a and contiguous.

    Args:
        a_MK: fp16, bf16 or fp32, any strides.
        b_KN: the same dtype, any strides.
        bias_N: fp16, bf16 or fp32, added to each row; None: no bias.
        activation: "none", "gelu" (exact, by erf) or "gelu_tanh" (the approximation by a tanh).

    Raises:
        ValueError: rank, shape, dtype, device or activation do not fit; the caller's fault.
    """
    check_tensor("a", a_MK, rank=2, dtypes=FLOATS)
    check_tensor("b", b_KN, rank=2, dtypes=(a_MK.dtype,))
    (M, K), N = a_MK.shape, b_KN.shape[1]
    check_shape("b", b_KN, (K, N))
    check_device("b", b_KN, a_MK)
    names = ", ".join(ACTIVATIONS)
    require(activation in ACTIVATIONS, f"activation: expected one of {names}, got {activation!r}")
    if bias_N is not None:
        check_tensor("bias", bias_N, rank=1, dtypes=FLOATS)
        check_shape("bias", bias_N, (N,))
        check_device("bias", bias_N, a_MK)
    out_MN = torch.empty((M, N), dtype=a_MK.dtype, device=a_MK.device)
    if out_MN.numel():
        half = HALF if activation == "none" else HALF_GELU
        launch: Launch = choose(MATMUL_SINGLE if a_MK.dtype == torch.float32 else half)
        grid = (triton.cdiv(M, launch["BLOCK_M"]) * triton.cdiv(N, launch["BLOCK_N"]),)
        _matmul_kernel[grid](
            *(a_MK, b_KN, out_MN if bias_N is None else bias_N, out_MN, M, N, K),
            *(*a_MK.stride(), *b_KN.stride(), 0 if bias_N is None else bias_N.stride(0)),
            out_MN.stride(0),
            HAS_BIAS=bias_N is not None,
            ACTIVATION=ACTIVATIONS[activation],
            GROUP_M=GROUP_M,
            **launch,
        )
    return out_MN


LARGEST_D = 128


LOG2_E: tl.constexpr = tl.constexpr(1.4426950408889634)


LN_2: tl.constexpr = tl.constexpr(0.6931471805599453)


FLASH_ATTENTION_NARROW = {
    75: {"BLOCK_M": 64, "BLOCK_N": 32, "num_warps": 8, "num_stages": 2},
    80: {"BLOCK_M": 128, "BLOCK_N": 64, "num_warps": 8, "num_stages": 3},
    90: {"BLOCK_M": 128, "BLOCK_N": 128, "num_warps": 8, "num_stages": 3},
}


FLASH_ATTENTION_WIDE = {
    75: {"BLOCK_M": 32, "BLOCK_N": 32, "num_warps": 8, "num_stages": 2},
    80: {"BLOCK_M": 128, "BLOCK_N": 32, "num_warps": 8, "num_stages": 3},
    90: {"BLOCK_M": 128, "BLOCK_N": 64, "num_warps": 8, "num_stages": 3},
}


FLASH_ATTENTION_SINGLE = {
    75: {"BLOCK_M": 32, "BLOCK_N": 16, "num_warps": 8, "num_stages": 1},
    80: {"BLOCK_M": 32, "BLOCK_N": 32, "num_warps": 8, "num_stages": 2},
    90: {"BLOCK_M": 32, "BLOCK_N": 16, "num_warps": 8, "num_stages": 2},
}
"""For half precision with D up to 64, with D above, and for fp32."""


@triton.jit
def _tile(
    x_TD, t, T, stride_t, stride_d,
    ALL: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Load rows t of a matrix, 0 where there are none; with ALL there are, and none is asked."""
    d = tl.arange(0, BLOCK_D)
    x = x_TD + t[:, None] * stride_t + d[None, :] * stride_d
    if ALL and D == BLOCK_D:
        return tl.load(x)
    inside = d[None, :] < D
    if not ALL:
        inside = inside & (t[:, None] < T)
    return tl.load(x, mask=inside, other=0.0)


@triton.jit
def _walk(
    acc, top, total, q, k_SD, v_SD, begin, end, S, offset, m, scale2,
    stride_ks, stride_kd, stride_vs, stride_vd, CAUSAL: tl.constexpr, MASKED: tl.constexpr,
    BLOCK_N: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Take the keys from `begin` to `end` into the running output, maximum and sum."""
    for start in range(begin, end, BLOCK_N):
        n = start + tl.arange(0, BLOCK_N).to(tl.int64)
        k = _tile(k_SD, n, S, stride_ks, stride_kd, not MASKED, D, BLOCK_D)
        s = tl.dot(q, tl.trans(k), input_precision="ieee")
        if MASKED:
            seen = n[None, :] < S
            if CAUSAL:
                seen = seen & (n[None, :] <= m[:, None] + offset)
            s = tl.where(seen, s, -float("inf"))
        new_top = tl.maximum(top, tl.max(s, axis=1))
        shift = tl.where(new_top == -float("inf"), 0.0, new_top * scale2)
        p = tl.exp2(tl.fma(s, scale2, -shift[:, None]))
        shrink = tl.exp2(top * scale2 - shift)
        total = total * shrink + tl.sum(p, axis=1)
        v = _tile(v_SD, n, S, stride_vs, stride_vd, not MASKED, D, BLOCK_D)
        acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None], input_precision="ieee")
        top = new_top
    return acc, top, total


@triton.jit
def _flash_attention_kernel(
    q_BHTD, k_BGSD, v_BGSD, o_BHTD, lse_BHT, H, GROUP, T, S, scale,
    stride_qb, stride_qh, stride_qt, stride_qd, stride_kb, stride_kh, stride_ks, stride_kd,
    stride_vb, stride_vh, stride_vs, stride_vd, stride_ob, stride_oh, stride_ot,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    D: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    tiles = tl.cdiv(T, BLOCK_M)
    # The last tiles of queries see the most keys: start with them, so that none is late.
    first = (tiles - 1 - tl.program_id(0) % tiles) * BLOCK_M
    head = (tl.program_id(0) // tiles).to(tl.int64)
    b, h = head // H, head % H
    m = first + tl.arange(0, BLOCK_M).to(tl.int64)
    d = tl.arange(0, BLOCK_D)
    k_SD = k_BGSD + b * stride_kb + h // GROUP * stride_kh
    v_SD = v_BGSD + b * stride_vb + h // GROUP * stride_vh
    q_TD = q_BHTD + b * stride_qb + h * stride_qh
    q = _tile(q_TD, m, T, stride_qt, stride_qd, False, D, BLOCK_D)
    # The sign goes to q, exactly: so the largest score is the largest product, and one
    # multiply-add takes a product to the exponent. A scale of 0 makes q 0, and can be any number.
    q = (q * tl.where(scale < 0, -1.0, tl.where(scale == 0, 0.0, 1.0))).to(q_BHTD.dtype.element_ty)
    scale2 = tl.where(scale == 0, 1.0, tl.abs(scale) * LOG2_E)

    offset = S - T
    whole = S  # keys that all queries of the tile see, then those that any sees
    end = S
    if CAUSAL:
        whole = min(S, max(0, first + offset + 1))
        end = min(S, max(0, first + BLOCK_M + offset))
    whole = whole // BLOCK_N * BLOCK_N
    acc = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    top = tl.full((BLOCK_M,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    acc, top, total = _walk(
        acc, top, total, q, k_SD, v_SD, 0, whole, S, offset, m, scale2,
        stride_ks, stride_kd, stride_vs, stride_vd, CAUSAL, False, BLOCK_N, D, BLOCK_D,
    )  # fmt: skip
    acc, top, total = _walk(
        acc, top, total, q, k_SD, v_SD, whole, end, S, offset, m, scale2,
        stride_ks, stride_kd, stride_vs, stride_vd, CAUSAL, True, BLOCK_N, D, BLOCK_D,
    )  # fmt: skip
    acc = acc / tl.where(total == 0.0, 1.0, total)[:, None]
    o_TD = o_BHTD + b * stride_ob + h * stride_oh
    inside = (m[:, None] < T) & (d[None, :] < D)
    tl.store(o_TD + m[:, None] * stride_ot + d[None, :], acc, mask=inside)
    lse = tl.where(total == 0.0, -float("inf"), (top * scale2 + tl.log2(total)) * LN_2)
    tl.store(lse_BHT + head * T + m, lse, mask=m < T)


def check_heads(q_BHTD: torch.Tensor, k_BGSD: torch.Tensor, v_BGSD: torch.Tensor) -> None:
    """Check that queries, keys and values fit each other.

    Raises:
        ValueError: rank, shape, dtype or device do not fit; the caller's fault.
    """
    check_tensor("q", q_BHTD, rank=4, dtypes=FLOATS)
    for name, tensor in (("k", k_BGSD), ("v", v_BGSD)):
        check_tensor(name, tensor, rank=4, dtypes=(q_BHTD.dtype,))
        check_device(name, tensor, q_BHTD)
    (B, H, _, D), (_, G, S, _) = q_BHTD.shape, k_BGSD.shape
    check_shape("k", k_BGSD, (B, G, S, D))
    check_shape("v", v_BGSD, (B, G, S, D))
    require(0 < D <= LARGEST_D, f"q: expected heads 1 to {LARGEST_D} wide, got {D}")
    require(G > 0 and H % G == 0, f"q: expected a multiple of {G} heads, got {H}")


def flash_attention(
    q_BHTD: torch.Tensor,
    k_BGSD: torch.Tensor,
    v_BGSD: torch.Tensor,
    *,
    scale: float | None = None,
    causal: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the output, like q and contiguous, and the log-sum-exp `lse_BHT` in fp32.

    Args:
        q_BHTD: fp16, bf16 or fp32, any strides.
        k_BGSD: the same dtype; H is a multiple of G, query head h reads key head h // (H / G).
        v_BGSD: like k.
        scale: of the scores, any number; 1/√D if None.
        causal: query i sees key j if j ≤ i + S − T.

    Raises:
        ValueError: rank, shape, dtype or device do not fit; the caller's fault.
    """
    check_heads(q_BHTD, k_BGSD, v_BGSD)
    (B, H, T, D), (G, S) = q_BHTD.shape, k_BGSD.shape[1:3]
    o_BHTD = torch.empty((B, H, T, D), dtype=q_BHTD.dtype, device=q_BHTD.device)
    lse_BHT = torch.empty((B, H, T), dtype=torch.float32, device=q_BHTD.device)
    if o_BHTD.numel():
        launch: Launch = choose(FLASH_ATTENTION_WIDE if D > 64 else FLASH_ATTENTION_NARROW)
        if q_BHTD.dtype == torch.float32:
            launch = choose(FLASH_ATTENTION_SINGLE)
        _flash_attention_kernel[(triton.cdiv(T, launch["BLOCK_M"]) * B * H,)](
            *(q_BHTD, k_BGSD, v_BGSD, o_BHTD, lse_BHT, H, H // G, T, S),
            D**-0.5 if scale is None else float(scale),
            *(*q_BHTD.stride(), *k_BGSD.stride(), *v_BGSD.stride(), *o_BHTD.stride()[:3]),
            CAUSAL=causal,
            D=D,
            BLOCK_D=max(16, triton.next_power_of_2(D)),
            **launch,
        )
    return o_BHTD, lse_BHT


FLASH_ATTENTION_BACKWARD_NARROW = {
    75: {"OWN": 32, "WALK_M": 32, "WALK_N": 32, "num_warps": 8, "num_stages": 1},
    80: {"OWN": 64, "WALK_M": 32, "WALK_N": 32, "num_warps": 4, "num_stages": 2},
    90: {"OWN": 128, "WALK_M": 64, "WALK_N": 64, "num_warps": 8, "num_stages": 3},
}


FLASH_ATTENTION_BACKWARD_WIDE = {
    75: {"OWN": 16, "WALK_M": 16, "WALK_N": 16, "num_warps": 8, "num_stages": 1},
    80: {"OWN": 64, "WALK_M": 32, "WALK_N": 32, "num_warps": 8, "num_stages": 2},
    90: {"OWN": 128, "WALK_M": 32, "WALK_N": 64, "num_warps": 8, "num_stages": 2},
}


FLASH_ATTENTION_BACKWARD_SINGLE = {
    75: {"OWN": 16, "WALK_M": 16, "WALK_N": 16, "num_warps": 8, "num_stages": 1},
    80: {"OWN": 16, "WALK_M": 16, "WALK_N": 16, "num_warps": 8, "num_stages": 1},
    90: {"OWN": 16, "WALK_M": 16, "WALK_N": 16, "num_warps": 8, "num_stages": 1},
}
"""For half precision with D up to 64, with D above, and for fp32: rows that a program owns, and the
queries (for dk and dv) or keys (for dq) of a tile that it walks over. Two sums in registers leave
room for fewer of them than one."""


DELTA_ROWS = 32


@triton.jit
def _delta_kernel(o_RD, do_RD, delta_R, R, D, BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr):
    """Write the sum of o · do of each row."""
    r = tl.program_id(0).to(tl.int64) * BLOCK_R + tl.arange(0, BLOCK_R)
    d = tl.arange(0, BLOCK_D)
    inside = (r[:, None] < R) & (d[None, :] < D)
    o = tl.load(o_RD + r[:, None] * D + d[None, :], mask=inside, other=0.0).to(tl.float32)
    do = tl.load(do_RD + r[:, None] * D + d[None, :], mask=inside, other=0.0).to(tl.float32)
    tl.store(delta_R + r, tl.sum(o * do, axis=1), mask=r < R)


@triton.jit
def _store_tile(x_TD, value, t, T, D: tl.constexpr, BLOCK_D: tl.constexpr):
    """Store rows t of a contiguous matrix."""
    d = tl.arange(0, BLOCK_D)
    tl.store(x_TD + t[:, None] * D + d[None, :], value, mask=(t[:, None] < T) & (d[None, :] < D))


@triton.jit
def _slopes(x, y, z, u, lse2, delta, seen, scale2, MASKED: tl.constexpr):
    """Return p and ds, the gradient of the scaled scores, of a tile: from q, k, do, v.

    From k, q, v, do, with lse and delta along the other axis, both come transposed: so what the
    next product wants as its left side is in the registers that this one leaves it in.
    """
    p = tl.exp2(tl.fma(tl.dot(x, tl.trans(y), input_precision="ieee"), scale2, -lse2))
    if MASKED:
        p = tl.where(seen, p, 0.0)
    return p, p * (tl.dot(z, tl.trans(u), input_precision="ieee") - delta)


@triton.jit
def _walk_queries(
    dk, dv, k, v, n, q_TD, do_TD, lse_T, delta_T, begin, end, T, offset, scale2, stride_t, stride_d,
    MASKED: tl.constexpr, BLOCK_M: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Add what the queries from `begin` to `end` give to dk and dv.

    Behind the last query q, do, lse and delta are 0: p is 1 there, ds is 0, and both add 0.
    """
    for first in range(begin, end, BLOCK_M):
        m = first + tl.arange(0, BLOCK_M).to(tl.int64)
        q = _tile(q_TD, m, T, stride_t, stride_d, False, D, BLOCK_D)
        do = _tile(do_TD, m, T, D, 1, False, D, BLOCK_D)
        lse2 = tl.load(lse_T + m, mask=m < T, other=0.0) * LOG2_E
        delta = tl.load(delta_T + m, mask=m < T, other=0.0)
        seen = n[:, None] <= m[None, :] + offset
        p, ds = _slopes(k, q, v, do, lse2[None, :], delta[None, :], seen, scale2, MASKED)
        dv = tl.dot(p.to(do.dtype), do, dv, input_precision="ieee")
        dk = tl.dot(ds.to(q.dtype), q, dk, input_precision="ieee")
    return dk, dv


@triton.jit
def _flash_attention_backward_kernel(
    q_BHTD, k_BGSD, v_BGSD, do_BHTD, lse_BHT, delta_BHT, dk_BGSD, dv_BGSD,
    G, GROUP, T, S, scale,
    stride_qb, stride_qh, stride_qt, stride_qd, stride_kb, stride_kh, stride_ks, stride_kd,
    stride_vb, stride_vh, stride_vs, stride_vd,
    CAUSAL: tl.constexpr, OWN: tl.constexpr, WALK: tl.constexpr,
    D: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Write dk and dv of OWN keys, summed over all queries of all heads that read them."""
    tiles = tl.cdiv(S, OWN)
    first = tl.program_id(0) % tiles * OWN
    head = (tl.program_id(0) // tiles).to(tl.int64)
    b, g = head // G, head % G
    n = first + tl.arange(0, OWN).to(tl.int64)
    k_SD, v_SD = k_BGSD + b * stride_kb + g * stride_kh, v_BGSD + b * stride_vb + g * stride_vh
    k = _tile(k_SD, n, S, stride_ks, stride_kd, False, D, BLOCK_D)
    v = _tile(v_SD, n, S, stride_vs, stride_vd, False, D, BLOCK_D)
    dk = tl.zeros((OWN, BLOCK_D), dtype=tl.float32)
    dv = tl.zeros((OWN, BLOCK_D), dtype=tl.float32)
    offset = S - T
    begin, whole = 0, 0  # queries that see any of the keys, then those that see all
    if CAUSAL:
        begin = max(0, first - offset) // WALK * WALK
        whole = tl.cdiv(max(0, first + OWN - 1 - offset), WALK) * WALK
    for h in range(g * GROUP, (g + 1) * GROUP):
        row = (b * G * GROUP + h) * T
        q_TD, do_TD = q_BHTD + b * stride_qb + h * stride_qh, do_BHTD + row * D
        dk, dv = _walk_queries(
            dk, dv, k, v, n, q_TD, do_TD, lse_BHT + row, delta_BHT + row, begin, min(T, whole),
            T, offset, scale * LOG2_E, stride_qt, stride_qd, True, WALK, D, BLOCK_D,
        )  # fmt: skip
        dk, dv = _walk_queries(
            dk, dv, k, v, n, q_TD, do_TD, lse_BHT + row, delta_BHT + row, whole, T,
            T, offset, scale * LOG2_E, stride_qt, stride_qd, False, WALK, D, BLOCK_D,
        )  # fmt: skip
    _store_tile(dk_BGSD + head * S * D, dk * scale, n, S, D, BLOCK_D)
    _store_tile(dv_BGSD + head * S * D, dv, n, S, D, BLOCK_D)


@triton.jit
def _walk_keys(
    dq, q, do, lse2, delta, m, k_SD, v_SD, begin, end, S, offset, scale2,
    stride_ks, stride_kd, stride_vs, stride_vd, CAUSAL: tl.constexpr, MASKED: tl.constexpr,
    BLOCK_N: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Add what the keys from `begin` to `end` give to dq."""
    for first in range(begin, end, BLOCK_N):
        n = first + tl.arange(0, BLOCK_N).to(tl.int64)
        k = _tile(k_SD, n, S, stride_ks, stride_kd, not MASKED, D, BLOCK_D)
        v = _tile(v_SD, n, S, stride_vs, stride_vd, not MASKED, D, BLOCK_D)
        seen = n[None, :] < S
        if CAUSAL:
            seen = seen & (n[None, :] <= m[:, None] + offset)
        _, ds = _slopes(q, k, do, v, lse2[:, None], delta[:, None], seen, scale2, MASKED)
        dq = tl.dot(ds.to(k.dtype), k, dq, input_precision="ieee")
    return dq


@triton.jit
def _flash_attention_backward_query_kernel(
    q_BHTD, k_BGSD, v_BGSD, do_BHTD, lse_BHT, delta_BHT, dq_BHTD, H, GROUP, T, S, scale,
    stride_qb, stride_qh, stride_qt, stride_qd, stride_kb, stride_kh, stride_ks, stride_kd,
    stride_vb, stride_vh, stride_vs, stride_vd,
    CAUSAL: tl.constexpr, OWN: tl.constexpr, WALK: tl.constexpr,
    D: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Write dq of OWN queries, summed over all keys."""
    tiles = tl.cdiv(T, OWN)
    first = (tiles - 1 - tl.program_id(0) % tiles) * OWN
    head = (tl.program_id(0) // tiles).to(tl.int64)
    b, h, row = head // H, head % H, head * T
    m = first + tl.arange(0, OWN).to(tl.int64)
    q = _tile(q_BHTD + b * stride_qb + h * stride_qh, m, T, stride_qt, stride_qd, False, D, BLOCK_D)
    do = _tile(do_BHTD + row * D, m, T, D, 1, False, D, BLOCK_D)
    lse2 = tl.load(lse_BHT + row + m, mask=m < T, other=0.0) * LOG2_E
    delta = tl.load(delta_BHT + row + m, mask=m < T, other=0.0)
    k_SD = k_BGSD + b * stride_kb + h // GROUP * stride_kh
    v_SD = v_BGSD + b * stride_vb + h // GROUP * stride_vh
    dq = tl.zeros((OWN, BLOCK_D), dtype=tl.float32)
    offset = S - T
    whole, end = S, S  # as in the forward pass
    if CAUSAL:
        whole = min(S, max(0, first + offset + 1))
        end = min(S, max(0, first + OWN + offset))
    whole = whole // WALK * WALK
    dq = _walk_keys(
        dq, q, do, lse2, delta, m, k_SD, v_SD, 0, whole, S, offset, scale * LOG2_E,
        stride_ks, stride_kd, stride_vs, stride_vd, CAUSAL, False, WALK, D, BLOCK_D,
    )  # fmt: skip
    dq = _walk_keys(
        dq, q, do, lse2, delta, m, k_SD, v_SD, whole, end, S, offset, scale * LOG2_E,
        stride_ks, stride_kd, stride_vs, stride_vd, CAUSAL, True, WALK, D, BLOCK_D,
    )  # fmt: skip
    _store_tile(dq_BHTD + row * D, dq * scale, m, T, D, BLOCK_D)


def _check_results(
    q_BHTD: torch.Tensor, do_BHTD: torch.Tensor, o_BHTD: torch.Tensor, lse_BHT: torch.Tensor
) -> None:
    check_like("do", do_BHTD, q_BHTD)
    check_like("o", o_BHTD, q_BHTD)
    check_tensor("lse", lse_BHT, rank=3, dtypes=(torch.float32,))
    check_shape("lse", lse_BHT, tuple(q_BHTD.shape[:3]))
    check_device("lse", lse_BHT, q_BHTD)


def flash_attention_backward(
    do_BHTD: torch.Tensor,
    qkv: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    forward: tuple[torch.Tensor, torch.Tensor],
    *,
    scale: float | None = None,
    causal: bool = False,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return dq, dk and dv, each like its tensor and contiguous.

    Args:
        do_BHTD: gradient of the output, like q, any strides.
        qkv: the arguments of the forward pass, any strides.
        forward: its results, output and log-sum-exp.
        scale: as in the forward pass.
        causal: as in the forward pass.

    Raises:
        ValueError: rank, shape, dtype or device do not fit; the caller's fault.
    """
    (q, k, v), (o, lse) = qkv, forward
    check_heads(q, k, v)
    _check_results(q, do_BHTD, o, lse)
    (B, H, T, D), (G, S) = q.shape, k.shape[1:3]
    dq, dk, dv = (x.new_empty(x.shape) for x in (q, k, v))
    o, do, lse = o.contiguous(), do_BHTD.contiguous(), lse.contiguous()
    delta = torch.empty_like(lse)
    width = max(16, triton.next_power_of_2(D))
    if lse.numel():
        _delta_kernel[(triton.cdiv(lse.numel(), DELTA_ROWS),)](
            o, do, delta, lse.numel(), D, BLOCK_R=DELTA_ROWS, BLOCK_D=width
        )
    launch: Launch = choose(
        FLASH_ATTENTION_BACKWARD_WIDE if D > 64 else FLASH_ATTENTION_BACKWARD_NARROW
    )
    if q.dtype == torch.float32:
        launch = choose(FLASH_ATTENTION_BACKWARD_SINGLE)
    constants = {key: launch[key] for key in ("OWN", "num_warps", "num_stages")}
    constants |= {"CAUSAL": causal, "D": D, "BLOCK_D": width}
    strides = (*q.stride(), *k.stride(), *v.stride())
    sizes = (H // G, T, S, D**-0.5 if scale is None else float(scale))
    if k.numel():  # without queries the sums are empty, not absent: the kernels write 0
        _flash_attention_backward_kernel[(triton.cdiv(S, launch["OWN"]) * B * G,)](
            q, k, v, do, lse, delta, dk, dv, G, *sizes, *strides, WALK=launch["WALK_M"], **constants
        )
    if q.numel():
        _flash_attention_backward_query_kernel[(triton.cdiv(T, launch["OWN"]) * B * H,)](
            q, k, v, do, lse, delta, dq, H, *sizes, *strides, WALK=launch["WALK_N"], **constants
        )
    return dq, dk, dv


def cross_entropy(
    x_MV: torch.Tensor, target_M: torch.Tensor, *, ignore_index: int = -100
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean loss and its gradient, a new tensor: logits are a caller's, and stay."""
    check_tensor("x", x_MV, rank=2, dtypes=FLOATS)
    dx_MV = torch.empty(x_MV.shape, dtype=x_MV.dtype, device=x_MV.device)
    return cross_entropy_into(x_MV, target_M, dx_MV, ignore_index=ignore_index), dx_MV
