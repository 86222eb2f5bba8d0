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


# Split: statistics in one kernel, results in another; split K and split keys, joined at the end.

NEG = tl.constexpr(-float("inf"))


@triton.jit
def _read(base, i, j, R, C, si, sj):
    ok = (i < R)[:, None] & (j < C)[None, :]
    at = i.to(tl.int64)[:, None] * si + j.to(tl.int64)[None, :] * sj
    return tl.load(base + at, mask=ok, other=0.0)


@triton.jit
def _write(base, i, j, R, C, value):
    ok = (i < R)[:, None] & (j < C)[None, :]
    at = i.to(tl.int64)[:, None] * C + j.to(tl.int64)[None, :]
    tl.store(base + at, value.to(base.dtype.element_ty), mask=ok)


@triton.jit
def _add2(x, y, z, M, N, sxm, sxn, sym, syn, BM: tl.constexpr, BN: tl.constexpr):
    down = tl.cdiv(M, BM)
    i = tl.program_id(0) % down * BM + tl.arange(0, BM)
    j = tl.program_id(0) // down * BN + tl.arange(0, BN)
    _write(z, i, j, M, N, _read(x, i, j, M, N, sxm, sxn) + _read(y, i, j, M, N, sym, syn))


def matrix_add(x_MN: Tensor, y_MN: Tensor) -> Tensor:
    _check_add(x_MN, y_MN)
    z = _new(x_MN)
    M, N = z.shape
    if z.numel() > 0:
        tiles = triton.cdiv(M, 16) * triton.cdiv(N, 128)
        _add2[(tiles,)](x_MN, y_MN, z, M, N, *x_MN.stride(), *y_MN.stride(), BM=16, BN=128)
    return z


@triton.jit
def _piece_stats(x, tops, sums, N, pieces, sm, sn, BLOCK: tl.constexpr):
    # The maximum of one piece of one row, and the sum relative to it.
    pid = tl.program_id(0).to(tl.int64)
    j = pid % pieces * BLOCK + tl.arange(0, BLOCK)
    e = tl.load(x + pid // pieces * sm + j * sn, mask=j < N, other=NEG).to(tl.float32)
    top = tl.max(e, 0)
    base = tl.where(top == NEG, 0.0, top)
    tl.store(tops + pid, top)
    tl.store(sums + pid, tl.sum(tl.exp(e - base), 0))


@triton.jit
def _join_stats(tops, sums, top_M, sum_M, pieces, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)
    t = tl.load(tops + row * pieces + i, mask=i < pieces, other=NEG)
    s = tl.load(sums + row * pieces + i, mask=i < pieces, other=0.0)
    top = tl.max(t, 0)
    base = tl.where(top == NEG, 0.0, top)
    tl.store(top_M + row, base)
    tl.store(sum_M + row, tl.sum(s * tl.exp(t - base), 0))


@triton.jit
def _softmax_write(x, y, top_M, sum_M, N, pieces, sm, sn, BLOCK: tl.constexpr):
    pid = tl.program_id(0).to(tl.int64)
    row = pid // pieces
    j = pid % pieces * BLOCK + tl.arange(0, BLOCK)
    e = tl.load(x + row * sm + j * sn, mask=j < N, other=NEG).to(tl.float32)
    p = tl.exp(e - tl.load(top_M + row)) / tl.load(sum_M + row)
    tl.store(y + row * N + j, p.to(y.dtype.element_ty), mask=j < N)


def _row_stats(x):
    M, N = x.shape
    pieces = triton.cdiv(N, 4096)
    tops, sums = _new(x, (M, pieces), torch.float32), _new(x, (M, pieces), torch.float32)
    top_M, sum_M = _new(x, (M,), torch.float32), _new(x, (M,), torch.float32)
    _piece_stats[(M * pieces,)](x, tops, sums, N, pieces, *x.stride(), BLOCK=4096)
    _join_stats[(M,)](tops, sums, top_M, sum_M, pieces, BLOCK=triton.next_power_of_2(pieces))
    return top_M, sum_M, pieces


def softmax(x_MN: Tensor) -> Tensor:
    _check_softmax(x_MN)
    y = _new(x_MN)
    M, N = x_MN.shape
    if M:
        top_M, sum_M, pieces = _row_stats(x_MN)
        _softmax_write[(M * pieces,)](x_MN, y, top_M, sum_M, N, pieces, *x_MN.stride(), BLOCK=4096)
    return y


@triton.jit
def _moments(x, mean, rstd, M, H, sm, sh, eps, CENTER: tl.constexpr, BM: tl.constexpr, BH: tl.constexpr):
    # Chan's formula joins the moments of blocks of columns.
    i = tl.program_id(0) * BM + tl.arange(0, BM)
    mu = tl.zeros([BM], tl.float32)
    m2 = tl.zeros([BM], tl.float32)
    for start in range(0, H, BH):
        j = start + tl.arange(0, BH)
        e = _read(x, i, j, M, H, sm, sh).to(tl.float32)
        if CENTER:
            n = tl.minimum(H - start, BH).to(tl.float32)
            mu_block = tl.sum(e, 1) / n
            e = tl.where((j < H)[None, :], e - mu_block[:, None], 0.0)
            gap = mu_block - mu
            before = start * 1.0
            m2 += tl.sum(e * e, 1) + gap * gap * (before * n / (before + n))
            mu += gap * (n / (before + n))
        else:
            m2 += tl.sum(e * e, 1)
    if CENTER:
        tl.store(mean + i, mu, mask=i < M)
    tl.store(rstd + i, 1.0 / tl.sqrt(m2 / H + eps), mask=i < M)


@triton.jit
def _apply(x, w, b, y, mean, rstd, M, H, sm, sh, sw, sb, CENTER: tl.constexpr, BM: tl.constexpr, BH: tl.constexpr):
    across = tl.cdiv(H, BH)
    i = tl.program_id(0) // across * BM + tl.arange(0, BM)
    j = tl.program_id(0) % across * BH + tl.arange(0, BH)
    e = _read(x, i, j, M, H, sm, sh).to(tl.float32)
    if CENTER:
        e -= tl.load(mean + i, mask=i < M, other=0.0)[:, None]
    e *= tl.load(rstd + i, mask=i < M, other=0.0)[:, None]
    e *= tl.load(w + j.to(tl.int64) * sw, mask=j < H, other=0.0).to(tl.float32)[None, :]
    if CENTER:
        e += tl.load(b + j.to(tl.int64) * sb, mask=j < H, other=0.0).to(tl.float32)[None, :]
    _write(y, i, j, M, H, e)


def _norm(x, w, b, eps):
    M, H = x.shape
    center = b is not None
    bias = b if center else w
    y, mean, rstd = _new(x), _new(x, (M,), torch.float32), _new(x, (M,), torch.float32)
    if M:
        meta = dict(CENTER=center, BM=8, BH=512)
        down = triton.cdiv(M, 8)
        _moments[(down,)](x, mean, rstd, M, H, *x.stride(), float(eps), **meta)
        _apply[(down * triton.cdiv(H, 512),)](
            x, w, bias, y, mean, rstd, M, H, *x.stride(), w.stride(0), bias.stride(0), **meta
        )
    return (y, mean, rstd) if center else (y, rstd)


@triton.jit
def _dots(dy, x, w, mean, rstd, sums, M, H, sdm, sdh, sxm, sxh, sw, su, sr,
          CENTER: tl.constexpr, BM: tl.constexpr, BH: tl.constexpr):
    i = tl.program_id(0) * BM + tl.arange(0, BM)
    r = tl.load(rstd + i.to(tl.int64) * sr, mask=i < M, other=0.0)
    mu = tl.zeros([BM], tl.float32)
    if CENTER:
        mu = tl.load(mean + i.to(tl.int64) * su, mask=i < M, other=0.0)
    with_x = tl.zeros([BM], tl.float32)
    alone = tl.zeros([BM], tl.float32)
    for start in range(0, H, BH):
        j = start + tl.arange(0, BH)
        g = _read(dy, i, j, M, H, sdm, sdh).to(tl.float32)
        g *= tl.load(w + j.to(tl.int64) * sw, mask=j < H, other=0.0).to(tl.float32)[None, :]
        xhat = (_read(x, i, j, M, H, sxm, sxh).to(tl.float32) - mu[:, None]) * r[:, None]
        with_x += tl.sum(g * xhat, 1)
        alone += tl.sum(g, 1)
    tl.store(sums + 2 * i, with_x / H, mask=i < M)
    tl.store(sums + 2 * i + 1, alone / H, mask=i < M)


@triton.jit
def _gradients(dy, x, w, mean, rstd, sums, dx, dw, db, M, H, sdm, sdh, sxm, sxh, sw, su, sr,
               CENTER: tl.constexpr, BM: tl.constexpr, BH: tl.constexpr):
    # A tile of dx; its part of dw and db is added by atomics.
    across = tl.cdiv(H, BH)
    i = tl.program_id(0) // across * BM + tl.arange(0, BM)
    j = tl.program_id(0) % across * BH + tl.arange(0, BH)
    r = tl.load(rstd + i.to(tl.int64) * sr, mask=i < M, other=0.0)
    e = _read(x, i, j, M, H, sxm, sxh).to(tl.float32)
    if CENTER:
        e -= tl.load(mean + i.to(tl.int64) * su, mask=i < M, other=0.0)[:, None]
    xhat = e * r[:, None]
    d = _read(dy, i, j, M, H, sdm, sdh).to(tl.float32)
    g = d * tl.load(w + j.to(tl.int64) * sw, mask=j < H, other=0.0).to(tl.float32)[None, :]
    rest = g - xhat * tl.load(sums + 2 * i, mask=i < M, other=0.0)[:, None]
    if CENTER:
        rest -= tl.load(sums + 2 * i + 1, mask=i < M, other=0.0)[:, None]
    _write(dx, i, j, M, H, rest * r[:, None])
    tl.atomic_add(dw + j, tl.sum(d * xhat, 0), mask=j < H)
    if CENTER:
        tl.atomic_add(db + j, tl.sum(d, 0), mask=j < H)


def _norm_backward(dy, x, w, mean, rstd):
    M, H = x.shape
    center = mean is not None
    mean = mean if center else rstd
    dx, dw, db = _new(x), _zeros(w, (H,), torch.float32), _zeros(w, (H,), torch.float32)
    if M:
        sums = _new(x, (M, 2), torch.float32)
        rest = (M, H, *dy.stride(), *x.stride(), w.stride(0), mean.stride(0), rstd.stride(0))
        meta = dict(CENTER=center, BM=16, BH=256)
        down = triton.cdiv(M, 16)
        _dots[(down,)](dy, x, w, mean, rstd, sums, *rest, **meta)
        _gradients[(down * triton.cdiv(H, 256),)](
            dy, x, w, mean, rstd, sums, dx, dw, db, *rest, **meta
        )
    return (dx, dw.to(w.dtype), db.to(w.dtype))[: 2 + center]


def rmsnorm(x_MH: Tensor, w_H: Tensor, *, eps: float = 1e-6) -> tuple[Tensor, Tensor]:
    _check_norm(x_MH, eps, w_H)
    return _norm(x_MH, w_H, None, eps)


def rmsnorm_backward(
    dy_MH: Tensor, x_MH: Tensor, w_H: Tensor, rstd_M: Tensor
) -> tuple[Tensor, Tensor]:
    _check_norm_backward(dy_MH, x_MH, w_H, rstd_M)
    return _norm_backward(dy_MH, x_MH, w_H, None, rstd_M)


def layernorm(
    x_MH: Tensor, w_H: Tensor, b_H: Tensor, *, eps: float = 1e-5
) -> tuple[Tensor, Tensor, Tensor]:
    _check_norm(x_MH, eps, w_H, b_H)
    return _norm(x_MH, w_H, b_H, eps)


def layernorm_backward(
    dy_MH: Tensor, x_MH: Tensor, *, w_H: Tensor, mean_M: Tensor, rstd_M: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    _check_norm_backward(dy_MH, x_MH, w_H, mean_M, rstd_M)
    return _norm_backward(dy_MH, x_MH, w_H, mean_M, rstd_M)


@triton.jit
def _ce_loss(x, target, top_M, sum_M, loss, kept, M, sm, sv, st, ignore, BLOCK: tl.constexpr):
    # One program adds the losses of all rows.
    total = tl.zeros([BLOCK], tl.float32)
    count = tl.zeros([BLOCK], tl.float32)
    for start in range(0, M, BLOCK):
        i = (start + tl.arange(0, BLOCK)).to(tl.int64)
        t = tl.load(target + i * st, mask=i < M, other=0).to(tl.int64)
        keep = (i < M) & (t != ignore)
        hit = tl.load(x + i * sm + t * sv, mask=keep, other=0.0).to(tl.float32)
        top = tl.load(top_M + i, mask=keep, other=0.0)
        one = tl.load(sum_M + i, mask=keep, other=1.0)
        total += tl.where(keep, (top - hit) + tl.log(one), 0.0)
        count += tl.where(keep, 1.0, 0.0)
    n = tl.sum(count, 0)
    tl.store(kept, n)
    tl.store(loss, tl.sum(total, 0) / n)


@triton.jit
def _ce_write(x, target, top_M, sum_M, kept, dx, V, pieces, sm, sv, st, ignore, BLOCK: tl.constexpr):
    pid = tl.program_id(0).to(tl.int64)
    row = pid // pieces
    j = pid % pieces * BLOCK + tl.arange(0, BLOCK)
    t = tl.load(target + row * st).to(tl.int64)
    keep = t != ignore
    e = tl.load(x + row * sm + j * sv, mask=(j < V) & keep, other=NEG).to(tl.float32)
    p = tl.exp(e - tl.load(top_M + row)) / tl.load(sum_M + row)
    d = (p - (j == t).to(tl.float32)) / tl.load(kept)
    tl.store(dx + row * V + j, tl.where(keep, d, 0.0).to(dx.dtype.element_ty), mask=j < V)


def cross_entropy(
    x_MV: Tensor, target_M: Tensor, *, ignore_index: int = -100
) -> tuple[Tensor, Tensor]:
    _check_cross_entropy(x_MV, target_M)
    M, V = x_MV.shape
    ignore, st = _ignored(ignore_index), target_M.stride(0)
    top_M, sum_M, pieces = _row_stats(x_MV)
    loss, kept = _new(x_MV, (), torch.float32), _new(x_MV, (1,), torch.float32)
    dx = _new(x_MV)
    _ce_loss[(1,)](
        x_MV, target_M, top_M, sum_M, loss, kept, M, *x_MV.stride(), st, ignore, BLOCK=256
    )
    _ce_write[(M * pieces,)](
        x_MV, target_M, top_M, sum_M, kept, dx, V, pieces, *x_MV.stride(), st, ignore, BLOCK=4096
    )
    return loss, dx


@triton.jit
def _matmul_part(a, b, parts, M, N, K, chunk, sam, sak, sbk, sbn,
                 BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    across = tl.cdiv(N, BN)
    i = tl.program_id(0) // across * BM + tl.arange(0, BM)
    j = tl.program_id(0) % across * BN + tl.arange(0, BN)
    split = tl.program_id(1).to(tl.int64)
    acc = tl.zeros([BM, BN], tl.float32)
    for start in range(split * chunk, tl.minimum(split * chunk + chunk, K), BK):
        k = start + tl.arange(0, BK)
        left = _read(a, i, k, M, K, sam, sak)
        acc += tl.dot(left, _read(b, k, j, K, N, sbk, sbn), input_precision="ieee")
    _write(parts + split * M * N, i, j, M, N, acc)


@triton.jit
def _finish(parts, bias, c, size, N, splits, sbias, BIAS: tl.constexpr, ACT: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    x = tl.zeros([BLOCK], tl.float32)
    for split in range(0, splits):
        x += tl.load(parts + at, mask=at < size, other=0.0)
        parts += size
    if BIAS:
        x += tl.load(bias + at % N * sbias, mask=at < size, other=0.0).to(tl.float32)
    if ACT == 1:
        x = 0.5 * x * (1.0 + tl.erf(x / 1.4142135623730951))
    if ACT == 2:
        u = 0.7978845608028654 * (x + 0.044715 * x * x * x)
        x = 0.5 * x * (1.0 + (2.0 / (1.0 + tl.exp(-2.0 * u)) - 1.0))
    tl.store(c + at, x.to(c.dtype.element_ty), mask=at < size)


def matmul(
    a_MK: Tensor, b_KN: Tensor, bias_N: Tensor | None = None, *, activation: str = "none"
) -> Tensor:
    _check_matmul(a_MK, b_KN, bias_N, activation)
    (M, K), N = a_MK.shape, b_KN.shape[1]
    c = _new(a_MK, (M, N))
    if M == 0 or N == 0:
        return c
    splits = max(1, min(4, K // 64))
    chunk = triton.cdiv(triton.cdiv(K, splits), 32) * 32
    parts = _new(c, (splits, M, N), torch.float32)
    _matmul_part[(triton.cdiv(M, 32) * triton.cdiv(N, 32), splits)](
        a_MK, b_KN, parts, M, N, K, chunk, *a_MK.stride(), *b_KN.stride(), BM=32, BN=32, BK=32
    )
    bias = c if bias_N is None else bias_N
    _finish[(triton.cdiv(M * N, 512),)](
        parts, bias, c, M * N, N, splits, bias.stride(-1), BIAS=bias_N is not None,
        ACT=("none", "gelu", "gelu_tanh").index(activation), BLOCK=512,
    )
    return c


@triton.jit
def _attend_part(
    q, k, v, parts, tops, sums, sqb, sqh, sqt, sqd, skb, skg, sks, skd, svb, svg, svs, svd,
    H, G, T, S, D, chunk, splits, scale,
    CAUSAL: tl.constexpr, BT: tl.constexpr, BS: tl.constexpr, BD: tl.constexpr,
):
    # One block of queries against one chunk of keys.
    split = tl.program_id(1)
    blocks = tl.cdiv(T, BT)
    bh = tl.program_id(0).to(tl.int64) // blocks
    b = bh // H
    h = bh % H
    g = h // (H // G)
    t = tl.program_id(0) % blocks * BT + tl.arange(0, BT)
    d = tl.arange(0, BD)
    qt = _read(q + b * sqb + h * sqh, t, d, T, D, sqt, sqd)
    m = tl.full([BT], NEG, tl.float32)
    l = tl.zeros([BT], tl.float32)
    o = tl.zeros([BT, BD], tl.float32)
    for start in range(split * chunk, tl.minimum(split * chunk + chunk, S), BS):
        s = start + tl.arange(0, BS)
        kt = _read(k + b * skb + g * skg, s, d, S, D, sks, skd)
        vt = _read(v + b * svb + g * svg, s, d, S, D, svs, svd)
        z = tl.dot(qt, tl.trans(kt), input_precision="ieee") * scale
        see = (s < S)[None, :] & (t < T)[:, None]
        if CAUSAL:
            see = see & (s[None, :] + T <= t[:, None] + S)
        z = tl.where(see, z, NEG)
        top = tl.maximum(m, tl.max(z, 1))
        base = tl.where(top == NEG, 0.0, top)
        p = tl.exp(z - base[:, None])
        old = tl.exp(m - base)
        l = l * old + tl.sum(p, 1)
        o = o * old[:, None] + tl.dot(p.to(vt.dtype), vt, input_precision="ieee")
        m = top
    row = (bh * splits + split) * T
    _write(parts + row * D, t, d, T, D, o)
    tl.store(tops + row + t, m, mask=t < T)
    tl.store(sums + row + t, l, mask=t < T)


@triton.jit
def _attend_join(parts, tops, sums, out, lse, T, D, splits, BX: tl.constexpr, BD: tl.constexpr):
    # One query: the splits are rescaled to their common maximum.
    pid = tl.program_id(0).to(tl.int64)
    bh = pid // T
    i = (bh * splits + tl.arange(0, BX)) * T + pid % T
    have = tl.arange(0, BX) < splits
    m = tl.load(tops + i, mask=have, other=NEG)
    top = tl.max(m, 0)
    factor = tl.exp(m - tl.where(top == NEG, 0.0, top))
    total = tl.sum(tl.load(sums + i, mask=have, other=0.0) * factor, 0)
    d = tl.arange(0, BD)
    ok = have[:, None] & (d < D)[None, :]
    o = tl.sum(tl.load(parts + i[:, None] * D + d[None, :], mask=ok, other=0.0) * factor[:, None], 0)
    o = o / tl.where(total == 0.0, 1.0, total)
    tl.store(out + pid * D + d, o.to(out.dtype.element_ty), mask=d < D)
    tl.store(lse + pid, top + tl.log(tl.where(total == 0.0, 1.0, total)))


def flash_attention(
    q_BHTD: Tensor, k_BGSD: Tensor, v_BGSD: Tensor, *,
    scale: float | None = None, causal: bool = False,
) -> tuple[Tensor, Tensor]:
    _check_attention(q_BHTD, k_BGSD, v_BGSD)
    B, H, T, D = q_BHTD.shape
    G, S = k_BGSD.shape[1:3]
    out, lse = _new(q_BHTD), _new(q_BHTD, (B, H, T), torch.float32)
    if out.numel() == 0:
        return out, lse
    wide = max(16, triton.next_power_of_2(D))
    splits = 1 if T > 64 else min(4, triton.cdiv(S, 32))
    chunk = triton.cdiv(triton.cdiv(S, splits), 32) * 32
    parts = _new(out, (B, H, splits, T, D), torch.float32)
    tops, sums = (_new(out, (B, H, splits, T), torch.float32) for _ in range(2))
    _attend_part[(B * H * triton.cdiv(T, 16), splits)](
        q_BHTD, k_BGSD, v_BGSD, parts, tops, sums, *q_BHTD.stride(), *k_BGSD.stride(),
        *v_BGSD.stride(), H, G, T, S, D, chunk, splits, _scale(scale, D),
        CAUSAL=bool(causal), BT=16, BS=32, BD=wide,
    )
    _attend_join[(B * H * T,)](parts, tops, sums, out, lse, T, D, splits, BX=4, BD=wide)
    return out, lse


@triton.jit
def _probabilities(qt, kt, l, t, s, T, S, scale, CAUSAL: tl.constexpr):
    z = tl.dot(qt, tl.trans(kt), input_precision="ieee") * scale
    see = (l > NEG)[:, None] & (s < S)[None, :] & (t < T)[:, None]
    if CAUSAL:
        see = see & (s[None, :] + T <= t[:, None] + S)
    return tl.exp(tl.where(see, z - tl.where(l > NEG, l, 0.0)[:, None], NEG))


@triton.jit
def _backward_part(
    do, q, k, v, out, lse, dq, part_k, part_v, sob, soh, sot, sod, sqb, sqh, sqt, sqd,
    skb, skg, sks, skd, svb, svg, svs, svd, sub, suh, sut, sud, slb, slh, slt, H, G, T, S, D, scale,
    tiles_t, CAUSAL: tl.constexpr, BT: tl.constexpr, BS: tl.constexpr, BD: tl.constexpr,
):
    # Programs below tiles_t own queries, the others own keys of one query head.
    pid = tl.program_id(0)
    bh = tl.program_id(1).to(tl.int64)
    b = bh // H
    h = bh % H
    g = h // (H // G)
    do += b * sob + h * soh
    q += b * sqb + h * sqh
    k += b * skb + g * skg
    v += b * svb + g * svg
    out += b * sub + h * suh
    lse += b * slb + h * slh
    d = tl.arange(0, BD)
    if pid < tiles_t:
        t = pid * BT + tl.arange(0, BT)
        qt = _read(q, t, d, T, D, sqt, sqd)
        x = _read(do, t, d, T, D, sot, sod)
        delta = tl.sum(x.to(tl.float32) * _read(out, t, d, T, D, sut, sud).to(tl.float32), 1)
        l = tl.load(lse + t.to(tl.int64) * slt, mask=t < T, other=NEG)
        acc = tl.zeros([BT, BD], tl.float32)
        for start in range(0, S, BS):
            s = start + tl.arange(0, BS)
            kt = _read(k, s, d, S, D, sks, skd)
            p = _probabilities(qt, kt, l, t, s, T, S, scale, CAUSAL)
            dp = tl.dot(x, tl.trans(_read(v, s, d, S, D, svs, svd)), input_precision="ieee")
            ds = tl.where(p > 0, p * (dp - delta[:, None]), 0.0)
            acc += tl.dot(ds.to(kt.dtype), kt, input_precision="ieee")
        _write(dq + bh * T * D, t, d, T, D, acc * scale)
    else:
        s = (pid - tiles_t) * BS + tl.arange(0, BS)
        kt = _read(k, s, d, S, D, sks, skd)
        vt = _read(v, s, d, S, D, svs, svd)
        acc_k = tl.zeros([BS, BD], tl.float32)
        acc_v = tl.zeros([BS, BD], tl.float32)
        for start in range(0, T, BT):
            t = start + tl.arange(0, BT)
            l = tl.load(lse + t.to(tl.int64) * slt, mask=t < T, other=NEG)
            qt = _read(q, t, d, T, D, sqt, sqd)
            x = _read(do, t, d, T, D, sot, sod)
            x = tl.where((l > NEG)[:, None], x.to(tl.float32), 0.0).to(qt.dtype)
            delta = tl.sum(x.to(tl.float32) * _read(out, t, d, T, D, sut, sud).to(tl.float32), 1)
            p = _probabilities(qt, kt, l, t, s, T, S, scale, CAUSAL)
            dp = tl.dot(x, tl.trans(vt), input_precision="ieee")
            ds = p * (dp - delta[:, None])
            acc_v += tl.dot(tl.trans(p).to(x.dtype), x, input_precision="ieee")
            acc_k += tl.dot(tl.trans(ds).to(qt.dtype), qt, input_precision="ieee")
        _write(part_k + bh * S * D, s, d, S, D, acc_k * scale)
        _write(part_v + bh * S * D, s, d, S, D, acc_v)


@triton.jit
def _add_heads(part, out, group, size, BLOCK: tl.constexpr):
    # part [B · G, group, size] -> out [B · G, size]
    tiles = tl.cdiv(size, BLOCK)
    pid = tl.program_id(0).to(tl.int64)
    at = pid % tiles * BLOCK + tl.arange(0, BLOCK)
    acc = tl.zeros([BLOCK], tl.float32)
    for member in range(0, group):
        acc += tl.load(part + (pid // tiles * group + member) * size + at, mask=at < size, other=0.0)
    tl.store(out + pid // tiles * size + at, acc.to(out.dtype.element_ty), mask=at < size)


def flash_attention_backward(
    do_BHTD: Tensor, qkv: tuple[Tensor, Tensor, Tensor], forward: tuple[Tensor, Tensor], *,
    scale: float | None = None, causal: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    (q, k, v), (out, lse) = qkv, forward
    _check_attention_backward(do_BHTD, q, k, v, out, lse)
    B, H, T, D = q.shape
    G, S = k.shape[1:3]
    if q.numel() == 0:
        return tuple(_zeros(x, x.shape) for x in (q, k, v))
    dq, dk, dv = _new(q), _new(k), _new(v)
    parts = [_new(q, (B, H, S, D), torch.float32) for _ in range(2)]
    tiles_t = triton.cdiv(T, 32)
    strides = [s for x in (do_BHTD, q, k, v, out, lse) for s in x.stride()]
    _backward_part[(tiles_t + triton.cdiv(S, 32), B * H)](
        do_BHTD, q, k, v, out, lse, dq, *parts, *strides, H, G, T, S, D, _scale(scale, D), tiles_t,
        CAUSAL=bool(causal), BT=32, BS=32, BD=max(16, triton.next_power_of_2(D)),
    )
    for part, grad in zip(parts, (dk, dv), strict=True):
        _add_heads[(B * G * triton.cdiv(S * D, 512),)](part, grad, H // G, S * D, BLOCK=512)
    return dq, dk, dv
