import math

import torch
import triton
import triton.language as tl

Tensor = torch.Tensor
FLOATS = (torch.float16, torch.bfloat16, torch.float32)


def _need(ok, text):
    if not ok:
        raise ValueError(text)


def _matrix(x, name):
    _need(x.dim() == 2, f"{name} must be a matrix, not of rank {x.dim()}")
    _need(x.dtype in FLOATS, f"{name} has dtype {x.dtype}")


def _vector(v, size, name, dtypes=FLOATS):
    _need(tuple(v.shape) == (size,), f"{name} must be a vector of {size}, not {tuple(v.shape)}")
    _need(v.dtype in dtypes, f"{name} has dtype {v.dtype}")


def _norm_rows(x):
    _matrix(x, "x")
    _need(1 <= x.shape[1] <= 8192, "H must be from 1 to 8192")


def _check_add(x, y):
    _matrix(x, "x")
    _matrix(y, "y")
    _need(x.shape == y.shape, "x and y must have one shape")
    _need(x.dtype == y.dtype, "x and y must have one dtype")


def _check_softmax(x):
    _matrix(x, "x")
    _need(x.shape[1] >= 1, "softmax of no columns")


def _check_norm(x, eps, *vectors):
    _norm_rows(x)
    for v in vectors:
        _vector(v, x.shape[1], "weight or bias")
    _need(eps >= 0, "eps must be at least 0")


def _check_norm_backward(dy, x, w, *stats):
    _norm_rows(x)
    _need(dy.shape == x.shape and dy.dtype == x.dtype, "dy must be like x")
    _vector(w, x.shape[1], "w")
    for s in stats:
        _vector(s, x.shape[0], "statistics", (torch.float32,))


def _check_cross_entropy(x, target):
    _matrix(x, "x")
    _need(x.shape[0] >= 1 and x.shape[1] >= 1, "x must have a row and a column")
    _vector(target, x.shape[0], "target", (torch.int32, torch.int64))


def _ignored(ignore_index):
    # A number that no target can be stands for one that does not fit.
    return ignore_index if -(2**63) <= ignore_index < 2**63 else -1


def _check_matmul(a, b, bias, activation):
    _matrix(a, "a")
    _matrix(b, "b")
    _need(a.dtype == b.dtype, "a and b must have one dtype")
    _need(a.shape[1] == b.shape[0], "a and b must share K")
    if bias is not None:
        _vector(bias, b.shape[1], "bias")
    _need(activation in ("none", "gelu", "gelu_tanh"), f"unknown activation {activation!r}")


def _check_attention(q, k, v):
    for x in (q, k, v):
        _need(x.dim() == 4, "q, k and v must have rank 4")
        _need(x.dtype in FLOATS and x.dtype == q.dtype, "q, k and v must have one dtype")
    _need(k.shape == v.shape, "k and v must have one shape")
    _need(q.shape[0] == k.shape[0] and q.shape[3] == k.shape[3], "one B and one D")
    _need(1 <= q.shape[3] <= 128, "D must be from 1 to 128")
    _need(k.shape[1] >= 1 and q.shape[1] % k.shape[1] == 0, "H must be a multiple of G")
    _need(q.shape[2] >= 1 and k.shape[2] >= 1, "T and S must be at least 1")


def _check_attention_backward(do, q, k, v, out, lse):
    _check_attention(q, k, v)
    for x in (do, out):
        _need(x.shape == q.shape and x.dtype == q.dtype, "do and the output must be like q")
    _need(lse.shape == q.shape[:3] and lse.dtype == torch.float32, "lse must be float32 [B, H, T]")


def _scale(scale, width):
    return 1.0 / math.sqrt(width) if scale is None else float(scale)


def _new(x, shape=None, dtype=None):
    return torch.empty(x.shape if shape is None else shape, dtype=dtype or x.dtype, device=x.device)


def _zeros(x, shape, dtype=None):
    return torch.zeros(shape, dtype=dtype or x.dtype, device=x.device)


# Plain: one program per row or tile, every pass a loop over blocks.


@triton.jit
def _add_kernel(x, y, z, M, N, sxm, sxn, sym, syn, BM: tl.constexpr, BN: tl.constexpr):
    pid = tl.program_id(0).to(tl.int64)
    across = (N + BN - 1) // BN
    rows = (pid // across * BM + tl.arange(0, BM))[:, None]
    cols = (pid % across * BN + tl.arange(0, BN))[None, :]
    inside = (rows < M) & (cols < N)
    a = tl.load(x + rows * sxm + cols * sxn, mask=inside, other=0.0)
    b = tl.load(y + rows * sym + cols * syn, mask=inside, other=0.0)
    total = a.to(tl.float32) + b.to(tl.float32)
    tl.store(z + rows * N + cols, total.to(z.dtype.element_ty), mask=inside)


def matrix_add(x_MN: Tensor, y_MN: Tensor) -> Tensor:
    _check_add(x_MN, y_MN)
    z = _new(x_MN)
    M, N = x_MN.shape
    if M and N:
        grid = (triton.cdiv(M, 32) * triton.cdiv(N, 64),)
        _add_kernel[grid](x_MN, y_MN, z, M, N, *x_MN.stride(), *y_MN.stride(), BM=32, BN=64)
    return z


@triton.jit
def _softmax_kernel(x, y, N, sm, sn, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    lanes = tl.arange(0, BLOCK).to(tl.int64)
    x += row * sm
    y += row * N
    best = tl.full([BLOCK], -float("inf"), tl.float32)
    for start in range(0, N, BLOCK):
        cols = start + lanes
        best = tl.maximum(best, tl.load(x + cols * sn, mask=cols < N, other=-float("inf")).to(tl.float32))
    top = tl.max(best, 0)
    top = tl.where(top == -float("inf"), 0.0, top)
    sums = tl.zeros([BLOCK], tl.float32)
    for start in range(0, N, BLOCK):
        cols = start + lanes
        e = tl.load(x + cols * sn, mask=cols < N, other=-float("inf")).to(tl.float32)
        sums += tl.exp(e - top)
    total = tl.sum(sums, 0)
    for start in range(0, N, BLOCK):
        cols = start + lanes
        e = tl.load(x + cols * sn, mask=cols < N, other=-float("inf")).to(tl.float32)
        tl.store(y + cols, (tl.exp(e - top) / total).to(y.dtype.element_ty), mask=cols < N)


def softmax(x_MN: Tensor) -> Tensor:
    _check_softmax(x_MN)
    y = _new(x_MN)
    M, N = x_MN.shape
    if M:
        _softmax_kernel[(M,)](x_MN, y, N, *x_MN.stride(), BLOCK=2048)
    return y


@triton.jit
def _rms_kernel(x, w, y, rstd, H, sm, sh, sw, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    lanes = tl.arange(0, BLOCK).to(tl.int64)
    squares = tl.zeros([BLOCK], tl.float32)
    for start in range(0, H, BLOCK):
        cols = start + lanes
        e = tl.load(x + row * sm + cols * sh, mask=cols < H, other=0.0).to(tl.float32)
        squares += e * e
    r = 1.0 / tl.sqrt(tl.sum(squares, 0) / H + eps)
    tl.store(rstd + row, r)
    for start in range(0, H, BLOCK):
        cols = start + lanes
        e = tl.load(x + row * sm + cols * sh, mask=cols < H, other=0.0).to(tl.float32)
        g = tl.load(w + cols * sw, mask=cols < H, other=0.0).to(tl.float32)
        tl.store(y + row * H + cols, (e * r * g).to(y.dtype.element_ty), mask=cols < H)


def rmsnorm(x_MH: Tensor, w_H: Tensor, *, eps: float = 1e-6) -> tuple[Tensor, Tensor]:
    _check_norm(x_MH, eps, w_H)
    M, H = x_MH.shape
    y, rstd = _new(x_MH), _new(x_MH, (M,), torch.float32)
    if M:
        _rms_kernel[(M,)](x_MH, w_H, y, rstd, H, *x_MH.stride(), *w_H.stride(), float(eps), BLOCK=1024)
    return y, rstd


@triton.jit
def _rms_dx_kernel(dy, x, w, rstd, dx, H, sdm, sdh, sxm, sxh, sw, sr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    lanes = tl.arange(0, BLOCK).to(tl.int64)
    r = tl.load(rstd + row * sr)
    dots = tl.zeros([BLOCK], tl.float32)
    for start in range(0, H, BLOCK):
        cols = start + lanes
        inside = cols < H
        xhat = tl.load(x + row * sxm + cols * sxh, mask=inside, other=0.0).to(tl.float32) * r
        g = tl.load(dy + row * sdm + cols * sdh, mask=inside, other=0.0).to(tl.float32)
        g *= tl.load(w + cols * sw, mask=inside, other=0.0).to(tl.float32)
        dots += g * xhat
    mean = tl.sum(dots, 0) / H
    for start in range(0, H, BLOCK):
        cols = start + lanes
        inside = cols < H
        xhat = tl.load(x + row * sxm + cols * sxh, mask=inside, other=0.0).to(tl.float32) * r
        g = tl.load(dy + row * sdm + cols * sdh, mask=inside, other=0.0).to(tl.float32)
        g *= tl.load(w + cols * sw, mask=inside, other=0.0).to(tl.float32)
        tl.store(dx + row * H + cols, (r * (g - xhat * mean)).to(dx.dtype.element_ty), mask=inside)


@triton.jit
def _rms_dw_kernel(dy, x, rstd, dw, M, H, sdm, sdh, sxm, sxh, sr, BM: tl.constexpr, BH: tl.constexpr):
    cols = (tl.program_id(0) * BH + tl.arange(0, BH)).to(tl.int64)[None, :]
    total = tl.zeros([BM, BH], tl.float32)
    for start in range(0, M, BM):
        rows = (start + tl.arange(0, BM)).to(tl.int64)[:, None]
        inside = (rows < M) & (cols < H)
        r = tl.load(rstd + rows * sr, mask=rows < M, other=0.0)
        e = tl.load(x + rows * sxm + cols * sxh, mask=inside, other=0.0).to(tl.float32)
        g = tl.load(dy + rows * sdm + cols * sdh, mask=inside, other=0.0).to(tl.float32)
        total += g * (e * r)
    column = tl.program_id(0) * BH + tl.arange(0, BH)
    tl.store(dw + column, tl.sum(total, 0).to(dw.dtype.element_ty), mask=column < H)


def rmsnorm_backward(
    dy_MH: Tensor, x_MH: Tensor, w_H: Tensor, rstd_M: Tensor
) -> tuple[Tensor, Tensor]:
    _check_norm_backward(dy_MH, x_MH, w_H, rstd_M)
    M, H = x_MH.shape
    dx, dw = _new(x_MH), _new(w_H)
    strides = (*dy_MH.stride(), *x_MH.stride())
    if M:
        _rms_dx_kernel[(M,)](
            dy_MH, x_MH, w_H, rstd_M, dx, H, *strides, w_H.stride(0), rstd_M.stride(0), BLOCK=1024
        )
    _rms_dw_kernel[(triton.cdiv(H, 64),)](
        dy_MH, x_MH, rstd_M, dw, M, H, *strides, rstd_M.stride(0), BM=16, BH=64
    )
    return dx, dw


@triton.jit
def _ln_kernel(x, w, b, y, mean, rstd, H, sm, sh, sw, sb, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    lanes = tl.arange(0, BLOCK).to(tl.int64)
    sums = tl.zeros([BLOCK], tl.float32)
    for start in range(0, H, BLOCK):
        cols = start + lanes
        sums += tl.load(x + row * sm + cols * sh, mask=cols < H, other=0.0).to(tl.float32)
    mu = tl.sum(sums, 0) / H
    squares = tl.zeros([BLOCK], tl.float32)
    for start in range(0, H, BLOCK):
        cols = start + lanes
        e = tl.load(x + row * sm + cols * sh, mask=cols < H, other=0.0).to(tl.float32)
        e = tl.where(cols < H, e - mu, 0.0)
        squares += e * e
    r = 1.0 / tl.sqrt(tl.sum(squares, 0) / H + eps)
    tl.store(mean + row, mu)
    tl.store(rstd + row, r)
    for start in range(0, H, BLOCK):
        cols = start + lanes
        e = tl.load(x + row * sm + cols * sh, mask=cols < H, other=0.0).to(tl.float32)
        g = tl.load(w + cols * sw, mask=cols < H, other=0.0).to(tl.float32)
        c = tl.load(b + cols * sb, mask=cols < H, other=0.0).to(tl.float32)
        out = (e - mu) * r * g + c
        tl.store(y + row * H + cols, out.to(y.dtype.element_ty), mask=cols < H)


def layernorm(
    x_MH: Tensor, w_H: Tensor, b_H: Tensor, *, eps: float = 1e-5
) -> tuple[Tensor, Tensor, Tensor]:
    _check_norm(x_MH, eps, w_H, b_H)
    M, H = x_MH.shape
    y = _new(x_MH)
    mean, rstd = _new(x_MH, (M,), torch.float32), _new(x_MH, (M,), torch.float32)
    if M:
        _ln_kernel[(M,)](
            x_MH, w_H, b_H, y, mean, rstd, H, *x_MH.stride(), w_H.stride(0), b_H.stride(0),
            float(eps), BLOCK=1024,
        )
    return y, mean, rstd


@triton.jit
def _ln_dx_kernel(dy, x, w, mean, rstd, dx, H, sdm, sdh, sxm, sxh, sw, su, sr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    lanes = tl.arange(0, BLOCK).to(tl.int64)
    mu = tl.load(mean + row * su)
    r = tl.load(rstd + row * sr)
    dots = tl.zeros([BLOCK], tl.float32)
    sums = tl.zeros([BLOCK], tl.float32)
    for start in range(0, H, BLOCK):
        cols = start + lanes
        inside = cols < H
        xhat = (tl.load(x + row * sxm + cols * sxh, mask=inside, other=0.0).to(tl.float32) - mu) * r
        g = tl.load(dy + row * sdm + cols * sdh, mask=inside, other=0.0).to(tl.float32)
        g *= tl.load(w + cols * sw, mask=inside, other=0.0).to(tl.float32)
        sums += g
        dots += tl.where(inside, g * xhat, 0.0)
    mean_g = tl.sum(sums, 0) / H
    mean_gx = tl.sum(dots, 0) / H
    for start in range(0, H, BLOCK):
        cols = start + lanes
        inside = cols < H
        xhat = (tl.load(x + row * sxm + cols * sxh, mask=inside, other=0.0).to(tl.float32) - mu) * r
        g = tl.load(dy + row * sdm + cols * sdh, mask=inside, other=0.0).to(tl.float32)
        g *= tl.load(w + cols * sw, mask=inside, other=0.0).to(tl.float32)
        d = r * (g - mean_g - xhat * mean_gx)
        tl.store(dx + row * H + cols, d.to(dx.dtype.element_ty), mask=inside)


@triton.jit
def _ln_dwb_kernel(
    dy, x, mean, rstd, dw, db, M, H, sdm, sdh, sxm, sxh, su, sr, BM: tl.constexpr, BH: tl.constexpr
):
    column = (tl.program_id(0) * BH + tl.arange(0, BH)).to(tl.int64)
    cols = column[None, :]
    total_w = tl.zeros([BM, BH], tl.float32)
    total_b = tl.zeros([BM, BH], tl.float32)
    for start in range(0, M, BM):
        rows = (start + tl.arange(0, BM)).to(tl.int64)[:, None]
        inside = (rows < M) & (cols < H)
        mu = tl.load(mean + rows * su, mask=rows < M, other=0.0)
        r = tl.load(rstd + rows * sr, mask=rows < M, other=0.0)
        e = tl.load(x + rows * sxm + cols * sxh, mask=inside, other=0.0).to(tl.float32)
        g = tl.load(dy + rows * sdm + cols * sdh, mask=inside, other=0.0).to(tl.float32)
        total_w += g * ((e - mu) * r)
        total_b += g
    tl.store(dw + column, tl.sum(total_w, 0).to(dw.dtype.element_ty), mask=column < H)
    tl.store(db + column, tl.sum(total_b, 0).to(db.dtype.element_ty), mask=column < H)


def layernorm_backward(
    dy_MH: Tensor, x_MH: Tensor, *, w_H: Tensor, mean_M: Tensor, rstd_M: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    _check_norm_backward(dy_MH, x_MH, w_H, mean_M, rstd_M)
    M, H = x_MH.shape
    dx, dw, db = _new(x_MH), _new(w_H), _new(w_H)
    strides = (*dy_MH.stride(), *x_MH.stride())
    stats = (mean_M.stride(0), rstd_M.stride(0))
    if M:
        _ln_dx_kernel[(M,)](
            dy_MH, x_MH, w_H, mean_M, rstd_M, dx, H, *strides, w_H.stride(0), *stats, BLOCK=1024
        )
    _ln_dwb_kernel[(triton.cdiv(H, 64),)](
        dy_MH, x_MH, mean_M, rstd_M, dw, db, M, H, *strides, *stats, BM=16, BH=64
    )
    return dx, dw, db


@triton.jit
def _count_kernel(target, count, M, st, ignore, BLOCK: tl.constexpr):
    kept = tl.zeros([BLOCK], tl.int32)
    for start in range(0, M, BLOCK):
        rows = (start + tl.arange(0, BLOCK)).to(tl.int64)
        t = tl.load(target + rows * st, mask=rows < M, other=0).to(tl.int64)
        kept += ((t != ignore) & (rows < M)).to(tl.int32)
    tl.store(count, tl.sum(kept, 0))


@triton.jit
def _ce_kernel(x, target, count, losses, dx, V, sm, sv, st, ignore, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    lanes = tl.arange(0, BLOCK).to(tl.int64)
    t = tl.load(target + row * st).to(tl.int64)
    if t == ignore:
        tl.store(losses + row, 0.0)
        for start in range(0, V, BLOCK):
            cols = start + lanes
            nothing = tl.zeros([BLOCK], tl.float32).to(dx.dtype.element_ty)
            tl.store(dx + row * V + cols, nothing, mask=cols < V)
    else:
        best = tl.full([BLOCK], -float("inf"), tl.float32)
        for start in range(0, V, BLOCK):
            cols = start + lanes
            e = tl.load(x + row * sm + cols * sv, mask=cols < V, other=-float("inf")).to(tl.float32)
            best = tl.maximum(best, e)
        top = tl.max(best, 0)
        sums = tl.zeros([BLOCK], tl.float32)
        for start in range(0, V, BLOCK):
            cols = start + lanes
            e = tl.load(x + row * sm + cols * sv, mask=cols < V, other=-float("inf")).to(tl.float32)
            sums += tl.exp(e - top)
        total = tl.sum(sums, 0)
        hit = tl.load(x + row * sm + t * sv).to(tl.float32)
        tl.store(losses + row, tl.log(total) + (top - hit))
        n = tl.load(count).to(tl.float32)
        for start in range(0, V, BLOCK):
            cols = start + lanes
            e = tl.load(x + row * sm + cols * sv, mask=cols < V, other=-float("inf")).to(tl.float32)
            p = tl.exp(e - top) / total
            d = tl.where(cols == t, p - 1.0, p) / n
            tl.store(dx + row * V + cols, d.to(dx.dtype.element_ty), mask=cols < V)


@triton.jit
def _mean_kernel(losses, count, loss, M, BLOCK: tl.constexpr):
    sums = tl.zeros([BLOCK], tl.float32)
    for start in range(0, M, BLOCK):
        rows = start + tl.arange(0, BLOCK)
        sums += tl.load(losses + rows, mask=rows < M, other=0.0)
    tl.store(loss, tl.sum(sums, 0) / tl.load(count).to(tl.float32))


def cross_entropy(
    x_MV: Tensor, target_M: Tensor, *, ignore_index: int = -100
) -> tuple[Tensor, Tensor]:
    _check_cross_entropy(x_MV, target_M)
    M, V = x_MV.shape
    st, ignore = target_M.stride(0), _ignored(ignore_index)
    dx, loss = _new(x_MV), _new(x_MV, (), torch.float32)
    losses, count = _new(x_MV, (M,), torch.float32), _new(x_MV, (1,), torch.int32)
    _count_kernel[(1,)](target_M, count, M, st, ignore, BLOCK=1024)
    _ce_kernel[(M,)](x_MV, target_M, count, losses, dx, V, *x_MV.stride(), st, ignore, BLOCK=4096)
    _mean_kernel[(1,)](losses, count, loss, M, BLOCK=1024)
    return loss, dx


@triton.jit
def _gelu(x):
    return 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))


@triton.jit
def _gelu_tanh(x):
    u = 0.7978845608028654 * (x + 0.044715 * x * x * x)
    return x / (1.0 + tl.exp(-2.0 * u))


@triton.jit
def _matmul_kernel(
    a, b, bias, c, M, N, K, sam, sak, sbk, sbn, sbias,
    BIAS: tl.constexpr, ACT: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):
    pid = tl.program_id(0).to(tl.int64)
    across = (N + BN - 1) // BN
    rows = pid // across * BM + tl.arange(0, BM)
    cols = pid % across * BN + tl.arange(0, BN)
    acc = tl.zeros([BM, BN], tl.float32)
    for start in range(0, K, BK):
        inner = (start + tl.arange(0, BK)).to(tl.int64)
        left = tl.load(
            a + rows[:, None] * sam + inner[None, :] * sak,
            mask=(rows[:, None] < M) & (inner[None, :] < K), other=0.0,
        )
        right = tl.load(
            b + inner[:, None] * sbk + cols[None, :] * sbn,
            mask=(inner[:, None] < K) & (cols[None, :] < N), other=0.0,
        )
        acc += tl.dot(left, right, input_precision="ieee")
    if BIAS:
        acc += tl.load(bias + cols * sbias, mask=cols < N, other=0.0).to(tl.float32)[None, :]
    if ACT == "gelu":
        acc = _gelu(acc)
    if ACT == "gelu_tanh":
        acc = _gelu_tanh(acc)
    inside = (rows[:, None] < M) & (cols[None, :] < N)
    tl.store(c + rows[:, None] * N + cols[None, :], acc.to(c.dtype.element_ty), mask=inside)


def matmul(
    a_MK: Tensor, b_KN: Tensor, bias_N: Tensor | None = None, *, activation: str = "none"
) -> Tensor:
    _check_matmul(a_MK, b_KN, bias_N, activation)
    (M, K), N = a_MK.shape, b_KN.shape[1]
    c = _new(a_MK, (M, N))
    if M and N:
        bias = a_MK if bias_N is None else bias_N
        grid = (triton.cdiv(M, 64) * triton.cdiv(N, 64),)
        _matmul_kernel[grid](
            a_MK, b_KN, bias, c, M, N, K, *a_MK.stride(), *b_KN.stride(), bias.stride(0),
            BIAS=bias_N is not None, ACT=activation, BM=64, BN=64, BK=32,
        )
    return c


@triton.jit
def _tile(base, rows, cols, R, C, sr, sc):
    return tl.load(
        base + rows.to(tl.int64)[:, None] * sr + cols.to(tl.int64)[None, :] * sc,
        mask=(rows[:, None] < R) & (cols[None, :] < C), other=0.0,
    )


@triton.jit
def _attention_kernel(
    q, k, v, out, lse, sqb, sqh, sqt, sqd, skb, skg, sks, skd, svb, svg, svs, svd,
    H, G, T, S, D, scale,
    CAUSAL: tl.constexpr, BT: tl.constexpr, BS: tl.constexpr, BD: tl.constexpr,
):
    blocks = (T + BT - 1) // BT
    pid = tl.program_id(0).to(tl.int64)
    bh = pid // blocks
    b = bh // H
    h = bh % H
    g = h // (H // G)
    first = pid % blocks * BT
    queries = first + tl.arange(0, BT)
    dims = tl.arange(0, BD)
    qt = _tile(q + b * sqb + h * sqh, queries, dims, T, D, sqt, sqd)
    top = tl.full([BT], -float("inf"), tl.float32)
    total = tl.zeros([BT], tl.float32)
    acc = tl.zeros([BT, BD], tl.float32)
    end = S
    if CAUSAL:
        end = tl.minimum(S, first + BT + S - T)
    for start in range(0, end, BS):
        keys = start + tl.arange(0, BS)
        kt = _tile(k + b * skb + g * skg, keys, dims, S, D, sks, skd)
        s = tl.dot(qt, tl.trans(kt), input_precision="ieee") * scale
        seen = (keys < S)[None, :]
        if CAUSAL:
            seen = seen & (keys[None, :] <= queries[:, None] + S - T)
        s = tl.where(seen, s, -float("inf"))
        new = tl.maximum(top, tl.max(s, 1))
        safe = tl.where(new == -float("inf"), 0.0, new)
        p = tl.exp(s - safe[:, None])
        fade = tl.exp(top - safe)
        total = total * fade + tl.sum(p, 1)
        vt = _tile(v + b * svb + g * svg, keys, dims, S, D, svs, svd)
        acc = acc * fade[:, None] + tl.dot(p.to(vt.dtype), vt, input_precision="ieee")
        top = new
    nothing = total == 0.0
    total = tl.where(nothing, 1.0, total)
    acc = acc / total[:, None]
    offsets = (bh * T + queries)[:, None] * D + dims[None, :]
    inside = (queries[:, None] < T) & (dims[None, :] < D)
    tl.store(out + offsets, acc.to(out.dtype.element_ty), mask=inside)
    tl.store(lse + bh * T + queries, top + tl.log(total), mask=queries < T)


def flash_attention(
    q_BHTD: Tensor, k_BGSD: Tensor, v_BGSD: Tensor, *,
    scale: float | None = None, causal: bool = False,
) -> tuple[Tensor, Tensor]:
    _check_attention(q_BHTD, k_BGSD, v_BGSD)
    B, H, T, D = q_BHTD.shape
    G, S = k_BGSD.shape[1:3]
    out, lse = _new(q_BHTD), _new(q_BHTD, (B, H, T), torch.float32)
    if B and H:
        _attention_kernel[(triton.cdiv(T, 32) * B * H,)](
            q_BHTD, k_BGSD, v_BGSD, out, lse, *q_BHTD.stride(), *k_BGSD.stride(), *v_BGSD.stride(),
            H, G, T, S, D, _scale(scale, D), CAUSAL=bool(causal), BT=32, BS=32,
            BD=max(16, triton.next_power_of_2(D)),
        )
    return out, lse


@triton.jit
def _dq_kernel(
    do, q, k, v, out, lse, dq, sob, soh, sot, sod, sqb, sqh, sqt, sqd, skb, skg, sks, skd,
    svb, svg, svs, svd, sub, suh, sut, sud, slb, slh, slt, H, G, T, S, D, scale,
    CAUSAL: tl.constexpr, BT: tl.constexpr, BS: tl.constexpr, BD: tl.constexpr,
):
    blocks = (T + BT - 1) // BT
    pid = tl.program_id(0).to(tl.int64)
    bh = pid // blocks
    b = bh // H
    h = bh % H
    g = h // (H // G)
    first = pid % blocks * BT
    queries = first + tl.arange(0, BT)
    dims = tl.arange(0, BD)
    qt = _tile(q + b * sqb + h * sqh, queries, dims, T, D, sqt, sqd)
    dot = _tile(do + b * sob + h * soh, queries, dims, T, D, sot, sod)
    ot = _tile(out + b * sub + h * suh, queries, dims, T, D, sut, sud)
    delta = tl.sum(dot.to(tl.float32) * ot.to(tl.float32), 1)
    sums = tl.load(lse + b * slb + h * slh + queries * slt, mask=queries < T, other=-float("inf"))
    saw = sums > -float("inf")
    sums = tl.where(saw, sums, 0.0)
    acc = tl.zeros([BT, BD], tl.float32)
    end = S
    if CAUSAL:
        end = tl.minimum(S, first + BT + S - T)
    for start in range(0, end, BS):
        keys = start + tl.arange(0, BS)
        kt = _tile(k + b * skb + g * skg, keys, dims, S, D, sks, skd)
        vt = _tile(v + b * svb + g * svg, keys, dims, S, D, svs, svd)
        s = tl.dot(qt, tl.trans(kt), input_precision="ieee") * scale
        seen = saw[:, None] & (keys < S)[None, :]
        if CAUSAL:
            seen = seen & (keys[None, :] <= queries[:, None] + S - T)
        p = tl.exp(tl.where(seen, s - sums[:, None], -float("inf")))
        dp = tl.dot(dot, tl.trans(vt), input_precision="ieee")
        ds = tl.where(seen, p * (dp - delta[:, None]), 0.0)
        acc += tl.dot(ds.to(kt.dtype), kt, input_precision="ieee")
    offsets = (bh * T + queries)[:, None] * D + dims[None, :]
    inside = (queries[:, None] < T) & (dims[None, :] < D)
    tl.store(dq + offsets, (acc * scale).to(dq.dtype.element_ty), mask=inside)


@triton.jit
def _dkv_kernel(
    do, q, k, v, out, lse, dk, dv, sob, soh, sot, sod, sqb, sqh, sqt, sqd, skb, skg, sks, skd,
    svb, svg, svs, svd, sub, suh, sut, sud, slb, slh, slt, H, G, T, S, D, scale,
    CAUSAL: tl.constexpr, BT: tl.constexpr, BS: tl.constexpr, BD: tl.constexpr,
):
    blocks = (S + BS - 1) // BS
    pid = tl.program_id(0).to(tl.int64)
    bg = pid // blocks
    b = bg // G
    g = bg % G
    keys = pid % blocks * BS + tl.arange(0, BS)
    dims = tl.arange(0, BD)
    kt = _tile(k + b * skb + g * skg, keys, dims, S, D, sks, skd)
    vt = _tile(v + b * svb + g * svg, keys, dims, S, D, svs, svd)
    acc_k = tl.zeros([BS, BD], tl.float32)
    acc_v = tl.zeros([BS, BD], tl.float32)
    for member in range(0, H // G):
        h = g * (H // G) + member
        for start in range(0, T, BT):
            queries = start + tl.arange(0, BT)
            lse_at = lse + b * slb + h * slh + queries.to(tl.int64) * slt
            sums = tl.load(lse_at, mask=queries < T, other=-float("inf"))
            saw = sums > -float("inf")
            sums = tl.where(saw, sums, 0.0)
            qt = _tile(q + b * sqb + h * sqh, queries, dims, T, D, sqt, sqd)
            dot = _tile(do + b * sob + h * soh, queries, dims, T, D, sot, sod)
            ot = _tile(out + b * sub + h * suh, queries, dims, T, D, sut, sud)
            dot = tl.where(saw[:, None], dot, 0.0).to(qt.dtype)
            qt = tl.where(saw[:, None], qt, 0.0).to(kt.dtype)
            delta = tl.sum(dot.to(tl.float32) * ot.to(tl.float32), 1)
            s = tl.dot(qt, tl.trans(kt), input_precision="ieee") * scale
            seen = saw[:, None] & (keys < S)[None, :]
            if CAUSAL:
                seen = seen & (keys[None, :] <= queries[:, None] + S - T)
            p = tl.exp(tl.where(seen, s - sums[:, None], -float("inf")))
            acc_v += tl.dot(tl.trans(p.to(dot.dtype)), dot, input_precision="ieee")
            dp = tl.dot(dot, tl.trans(vt), input_precision="ieee")
            ds = tl.where(seen, p * (dp - delta[:, None]), 0.0)
            acc_k += tl.dot(tl.trans(ds.to(qt.dtype)), qt, input_precision="ieee")
    offsets = (bg * S + keys)[:, None] * D + dims[None, :]
    inside = (keys[:, None] < S) & (dims[None, :] < D)
    tl.store(dk + offsets, (acc_k * scale).to(dk.dtype.element_ty), mask=inside)
    tl.store(dv + offsets, acc_v.to(dv.dtype.element_ty), mask=inside)


def flash_attention_backward(
    do_BHTD: Tensor, qkv: tuple[Tensor, Tensor, Tensor], forward: tuple[Tensor, Tensor], *,
    scale: float | None = None, causal: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = qkv
    out, lse = forward
    _check_attention_backward(do_BHTD, q, k, v, out, lse)
    B, H, T, D = q.shape
    G, S = k.shape[1:3]
    dq, dk, dv = _new(q), _new(k), _new(v)
    strides = [s for x in (do_BHTD, q, k, v, out, lse) for s in x.stride()]
    numbers = (H, G, T, S, D, _scale(scale, D))
    meta = dict(CAUSAL=bool(causal), BT=32, BS=32, BD=max(16, triton.next_power_of_2(D)))
    if B and H:
        _dq_kernel[(triton.cdiv(T, 32) * B * H,)](
            do_BHTD, q, k, v, out, lse, dq, *strides, *numbers, **meta
        )
    if B:
        _dkv_kernel[(triton.cdiv(S, 32) * B * G,)](
            do_BHTD, q, k, v, out, lse, dk, dv, *strides, *numbers, **meta
        )
    return dq, dk, dv
