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


# The host does the bookkeeping: recursion over leading dimensions and over halves, generators of
# tiles, and kernels that know only matrices.


def _halves(start, stop, most):
    """Yield pieces of a range of at most `most`, by halving."""
    if stop - start <= most:
        if stop > start:
            yield start, stop
        return
    middle = (start + stop) // 2
    yield from _halves(start, middle, most)
    yield from _halves(middle, stop, most)


@triton.jit
def _add_stripe(x, y, z, rows, N, sxm, sxn, sym, syn, BM: tl.constexpr, BN: tl.constexpr):
    i = (tl.program_id(0) * BM + tl.arange(0, BM)).to(tl.int64)[:, None]
    for start in range(0, N, BN):
        j = (start + tl.arange(0, BN)).to(tl.int64)[None, :]
        ok = (i < rows) & (j < N)
        a = tl.load(x + i * sxm + j * sxn, mask=ok, other=0.0)
        b = tl.load(y + i * sym + j * syn, mask=ok, other=0.0)
        tl.store(z + i * N + j, a + b, mask=ok)


def matrix_add(x_MN: Tensor, y_MN: Tensor) -> Tensor:
    _check_add(x_MN, y_MN)
    z = _new(x_MN)
    M, N = x_MN.shape
    if N:
        for lo, hi in _halves(0, M, 65536):
            x, y = x_MN[lo:hi], y_MN[lo:hi]
            _add_stripe[(triton.cdiv(hi - lo, 16),)](
                x, y, z[lo:hi], hi - lo, N, *x.stride(), *y.stride(), BM=16, BN=256
            )
    return z


@triton.jit
def _maxima(x, tops, N, sm, sn, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    acc = tl.full([BLOCK], -float("inf"), tl.float32)
    j = tl.arange(0, BLOCK).to(tl.int64)
    while tl.min(j, 0) < N:
        e = tl.load(x + row * sm + j * sn, mask=j < N, other=-float("inf")).to(tl.float32)
        acc = tl.maximum(acc, e)
        j += BLOCK
    tl.store(tops + row, tl.max(acc, 0))


@triton.jit
def _exponentials(x, y, tops, N, sm, sn, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    top = tl.load(tops + row)
    top = tl.where(top == -float("inf"), 0.0, top)
    acc = tl.zeros([BLOCK], tl.float32)
    j = tl.arange(0, BLOCK).to(tl.int64)
    while tl.min(j, 0) < N:
        e = tl.load(x + row * sm + j * sn, mask=j < N, other=-float("inf")).to(tl.float32)
        acc += tl.exp(e - top)
        j += BLOCK
    # exp(x − m − log Σ) needs no division.
    shift = top + 0.0
    inverse = 1.0 / tl.sum(acc, 0)
    j = tl.arange(0, BLOCK).to(tl.int64)
    while tl.min(j, 0) < N:
        e = tl.load(x + row * sm + j * sn, mask=j < N, other=-float("inf")).to(tl.float32)
        tl.store(y + row * N + j, (tl.exp(e - shift) * inverse).to(y.dtype.element_ty), mask=j < N)
        j += BLOCK


def softmax(x_MN: Tensor) -> Tensor:
    _check_softmax(x_MN)
    M, N = x_MN.shape
    y, tops = _new(x_MN), _new(x_MN, (M,), torch.float32)
    if M:
        block = min(4096, triton.next_power_of_2(N))
        _maxima[(M,)](x_MN, tops, N, *x_MN.stride(), BLOCK=block)
        _exponentials[(M,)](x_MN, y, tops, N, *x_MN.stride(), BLOCK=block)
    return y


@triton.jit
def _row_sums(x, mean, out, H, sm, sh, sc, eps, MODE: tl.constexpr, BLOCK: tl.constexpr):
    # MODE "mean": E[x]; "rstd": (E[(x − mean)²] + eps)^(−1/2), with mean 0 where it is not given.
    row = tl.program_id(0).to(tl.int64)
    j = tl.arange(0, BLOCK).to(tl.int64)
    e = tl.load(x + row * sm + j * sh, mask=j < H, other=0.0).to(tl.float32)
    if MODE == "mean":
        tl.store(out + row, tl.sum(e, 0) / H)
    else:
        e = tl.where(j < H, e - tl.load(mean + row * sc), 0.0)
        tl.store(out + row, 1.0 / tl.sqrt(tl.sum(e * e, 0) / H + eps))


@triton.jit
def _scale_rows(x, w, b, mean, rstd, y, H, sm, sh, sw, sb, sc, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    j = tl.arange(0, BLOCK).to(tl.int64)
    e = tl.load(x + row * sm + j * sh, mask=j < H, other=0.0).to(tl.float32)
    e = (e - tl.load(mean + row * sc)) * tl.load(rstd + row)
    e *= tl.load(w + j * sw, mask=j < H, other=0.0).to(tl.float32)
    e += tl.load(b + j * sb, mask=j < H, other=0.0).to(tl.float32)
    tl.store(y + row * H + j, e.to(y.dtype.element_ty), mask=j < H)


def _normalise(x, w, b, mean, eps):
    # RMSNorm is LayerNorm with a mean and a bias of 0: expanded zeros stand for both.
    M, H = x.shape
    y, rstd = _new(x), _new(x, (M,), torch.float32)
    wide = triton.next_power_of_2(H)
    if M:
        _row_sums[(M,)](x, mean, rstd, H, *x.stride(), mean.stride(0), float(eps), MODE="rstd", BLOCK=wide)
        _scale_rows[(M,)](
            x, w, b, mean, rstd, y, H, *x.stride(), w.stride(0), b.stride(0), mean.stride(0), BLOCK=wide
        )
    return y, rstd


@triton.jit
def _stripe_backward(
    dy, x, w, mean, rstd, dx, dw, db, rows, H, sdm, sdh, sxm, sxh, sw, su, sr,
    CENTER: tl.constexpr, BLOCK: tl.constexpr,
):
    # One program walks over one stripe of rows and leaves its sums in one row of dw and db.
    stripe = tl.program_id(0).to(tl.int64)
    j = tl.arange(0, BLOCK).to(tl.int64)
    ok = j < H
    weight = tl.load(w + j * sw, mask=ok, other=0.0).to(tl.float32)
    acc_w = tl.zeros([BLOCK], tl.float32)
    acc_b = tl.zeros([BLOCK], tl.float32)
    i = stripe * 32
    while i < tl.minimum(stripe * 32 + 32, rows):
        d = tl.load(dy + i * sdm + j * sdh, mask=ok, other=0.0).to(tl.float32)
        e = tl.load(x + i * sxm + j * sxh, mask=ok, other=0.0).to(tl.float32)
        r = tl.load(rstd + i * sr)
        xhat = tl.where(ok, (e - tl.load(mean + i * su)) * r, 0.0)
        g = d * weight
        out = g - xhat * (tl.sum(g * xhat, 0) / H)
        if CENTER:
            out -= tl.sum(g, 0) / H
        tl.store(dx + i * H + j, (r * out).to(dx.dtype.element_ty), mask=ok)
        acc_w += d * xhat
        acc_b += d
        i += 1
    tl.store(dw + stripe * H + j, acc_w, mask=ok)
    tl.store(db + stripe * H + j, acc_b, mask=ok)


@triton.jit
def _fold(parts, out, count, H, BLOCK: tl.constexpr):
    # Sixteen rows become one.
    tiles = tl.cdiv(H, BLOCK)
    group = tl.program_id(0).to(tl.int64) // tiles
    j = tl.program_id(0) % tiles * BLOCK + tl.arange(0, BLOCK)
    i = group * 16 + tl.arange(0, 16)
    ok = (i < count)[:, None] & (j < H)[None, :]
    total = tl.sum(tl.load(parts + i[:, None] * H + j[None, :], mask=ok, other=0.0), 0)
    tl.store(out + group * H + j, total.to(out.dtype.element_ty), mask=j < H)


def _fold_all(parts, like):
    count, H = parts.shape
    groups = triton.cdiv(count, 16)
    last = groups <= 1
    out = _new(like) if last else _new(parts, (groups, H))
    _fold[(max(1, groups) * triton.cdiv(H, 128),)](parts, out, count, H, BLOCK=128)
    return out if last else _fold_all(out, like)


def _norm_backward(dy, x, w, mean, rstd, center):
    M, H = x.shape
    dx = _new(x)
    stripes = triton.cdiv(M, 32)
    dw, db = _new(x, (stripes, H), torch.float32), _new(x, (stripes, H), torch.float32)
    if M:
        _stripe_backward[(stripes,)](
            dy, x, w, mean, rstd, dx, dw, db, M, H, *dy.stride(), *x.stride(), w.stride(0),
            mean.stride(0), rstd.stride(0), CENTER=center, BLOCK=triton.next_power_of_2(H),
        )
    return dx, dw, db


def rmsnorm(x_MH: Tensor, w_H: Tensor, *, eps: float = 1e-6) -> tuple[Tensor, Tensor]:
    _check_norm(x_MH, eps, w_H)
    M, H = x_MH.shape
    zero = _zeros(x_MH, (1,), torch.float32)
    return _normalise(x_MH, w_H, zero.expand(H), zero.expand(M), eps)


def rmsnorm_backward(
    dy_MH: Tensor, x_MH: Tensor, w_H: Tensor, rstd_M: Tensor
) -> tuple[Tensor, Tensor]:
    _check_norm_backward(dy_MH, x_MH, w_H, rstd_M)
    mean = _zeros(x_MH, (1,), torch.float32).expand(x_MH.shape[0])
    dx, dw, _ = _norm_backward(dy_MH, x_MH, w_H, mean, rstd_M, False)
    return dx, _fold_all(dw, w_H)


def layernorm(
    x_MH: Tensor, w_H: Tensor, b_H: Tensor, *, eps: float = 1e-5
) -> tuple[Tensor, Tensor, Tensor]:
    _check_norm(x_MH, eps, w_H, b_H)
    M, H = x_MH.shape
    mean = _new(x_MH, (M,), torch.float32)
    if M:
        _row_sums[(M,)](
            x_MH, mean, mean, H, *x_MH.stride(), 1, 0.0, MODE="mean", BLOCK=triton.next_power_of_2(H)
        )
    y, rstd = _normalise(x_MH, w_H, b_H, mean, eps)
    return y, mean, rstd


def layernorm_backward(
    dy_MH: Tensor, x_MH: Tensor, *, w_H: Tensor, mean_M: Tensor, rstd_M: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    _check_norm_backward(dy_MH, x_MH, w_H, mean_M, rstd_M)
    dx, dw, db = _norm_backward(dy_MH, x_MH, w_H, mean_M, rstd_M, True)
    return dx, _fold_all(dw, w_H), _fold_all(db, w_H)


@triton.jit
def _ce_block(x, targets, dx, state, M, V, sm, sv, st, ignore, BLOCK: tl.constexpr):
    # state: [loss, kept]. Every program counts the kept rows for itself: targets are small.
    row = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, BLOCK).to(tl.int64)
    kept = tl.zeros([BLOCK], tl.int32)
    for start in range(0, M, BLOCK):
        other = tl.load(targets + (start + lane) * st, mask=start + lane < M, other=0).to(tl.int64)
        kept += ((start + lane < M) & (other != ignore)).to(tl.int32)
    n = tl.sum(kept, 0).to(tl.float32)
    t = tl.load(targets + row * st).to(tl.int64)
    if t != ignore:
        hit = tl.load(x + row * sm + t * sv).to(tl.float32)
        acc = tl.full([BLOCK], -float("inf"), tl.float32)
        for start in range(0, V, BLOCK):
            j = start + lane
            e = tl.load(x + row * sm + j * sv, mask=j < V, other=-float("inf")).to(tl.float32)
            acc = tl.maximum(acc, e)
        top = tl.max(acc, 0)
        total = tl.zeros([BLOCK], tl.float32)
        for start in range(0, V, BLOCK):
            j = start + lane
            e = tl.load(x + row * sm + j * sv, mask=j < V, other=-float("inf")).to(tl.float32)
            total += tl.exp(e - top)
        total_1 = tl.sum(total, 0)
        for start in range(0, V, BLOCK):
            j = start + lane
            e = tl.load(x + row * sm + j * sv, mask=j < V, other=-float("inf")).to(tl.float32)
            d = tl.exp(e - top) / total_1
            d = tl.where(j == t, d - 1.0, d) / n
            tl.store(dx + row * V + j, d.to(dx.dtype.element_ty), mask=j < V)
        tl.atomic_add(state, (top - hit) + tl.log(total_1))
    else:
        for start in range(0, V, BLOCK):
            j = start + lane
            tl.store(dx + row * V + j, tl.zeros([BLOCK], dx.dtype.element_ty), mask=j < V)
    if row == 0:
        tl.store(state + 1, n)


@triton.jit
def _quotient(state, loss):
    tl.store(loss, tl.load(state) / tl.load(state + 1))


def cross_entropy(
    x_MV: Tensor, target_M: Tensor, *, ignore_index: int = -100
) -> tuple[Tensor, Tensor]:
    _check_cross_entropy(x_MV, target_M)
    M, V = x_MV.shape
    dx, loss, state = _new(x_MV), _new(x_MV, (), torch.float32), _zeros(x_MV, (2,), torch.float32)
    _ce_block[(M,)](
        x_MV, target_M, dx, state, M, V, *x_MV.stride(), target_M.stride(0), _ignored(ignore_index),
        BLOCK=4096,
    )
    _quotient[(1,)](state, loss)
    return loss, dx


@triton.jit
def _product(a, b, c, M, N, K, sam, sak, sbk, sbn, scm, scn, factor, ADD: tl.constexpr,
             BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    # c (+)= factor · a @ b, for float32 c.
    i = (tl.program_id(0) * BM + tl.arange(0, BM)).to(tl.int64)
    j = (tl.program_id(1) * BN + tl.arange(0, BN)).to(tl.int64)
    acc = tl.zeros([BM, BN], tl.float32)
    for start in range(0, K, BK):
        k = (start + tl.arange(0, BK)).to(tl.int64)
        left = tl.load(a + i[:, None] * sam + k[None, :] * sak,
                       mask=(i < M)[:, None] & (k < K)[None, :], other=0.0)
        right = tl.load(b + k[:, None] * sbk + j[None, :] * sbn,
                        mask=(k < K)[:, None] & (j < N)[None, :], other=0.0)
        acc += tl.dot(left, right, input_precision="ieee")
    ok = (i < M)[:, None] & (j < N)[None, :]
    at = c + i[:, None] * scm + j[None, :] * scn
    acc *= factor
    if ADD:
        acc += tl.load(at, mask=ok, other=0.0)
    tl.store(at, acc, mask=ok)


@triton.jit
def _bias_and_gelu(acc, bias, c, rows, N, sbias, BIAS: tl.constexpr, ACT: tl.constexpr, BN: tl.constexpr):
    i = tl.program_id(0).to(tl.int64)
    for start in range(0, N, BN):
        j = (start + tl.arange(0, BN)).to(tl.int64)
        x = tl.load(acc + i * N + j, mask=j < N, other=0.0)
        if BIAS:
            x += tl.load(bias + j * sbias, mask=j < N, other=0.0).to(tl.float32)
        if ACT == "gelu":
            x *= 0.5 * (1.0 + tl.erf(x * 0.7071067811865476))
        if ACT == "gelu_tanh":
            x *= tl.sigmoid(2.0 * 0.7978845608028654 * (x + 0.044715 * x * x * x))
        tl.store(c + i * N + j, x.to(c.dtype.element_ty), mask=j < N)


def _multiply(a, b, c, factor=1.0, add=False):
    (M, K), N = a.shape, b.shape[1]
    _product[(triton.cdiv(M, 32), triton.cdiv(N, 32))](
        a, b, c, M, N, K, *a.stride(), *b.stride(), *c.stride(), factor, ADD=add, BM=32, BN=32, BK=32
    )


def matmul(
    a_MK: Tensor, b_KN: Tensor, bias_N: Tensor | None = None, *, activation: str = "none"
) -> Tensor:
    _check_matmul(a_MK, b_KN, bias_N, activation)
    M, N = a_MK.shape[0], b_KN.shape[1]
    c = _new(a_MK, (M, N))
    bias = a_MK if bias_N is None else bias_N
    for lo, hi in _halves(0, M if N else 0, 4096):
        acc = _new(c, (hi - lo, N), torch.float32)
        for left, right in _halves(0, N, 65536):
            _multiply(a_MK[lo:hi], b_KN[:, left:right], acc[:, left:right])
        _bias_and_gelu[(hi - lo,)](
            acc, bias, c[lo:hi], hi - lo, N, bias.stride(0), BIAS=bias_N is not None,
            ACT=activation, BN=256,
        )
    return c


@triton.jit
def _head(q, k, v, out, lse, T, S, D, sqt, sqd, sks, skd, svs, svd, scale,
          CAUSAL: tl.constexpr, BT: tl.constexpr, BS: tl.constexpr, BD: tl.constexpr):
    # Attention of one head: three matrices in, one matrix and one vector out.
    t = (tl.program_id(0) * BT + tl.arange(0, BT)).to(tl.int64)
    d = tl.arange(0, BD).to(tl.int64)
    in_t = (t < T)[:, None] & (d < D)[None, :]
    qt = tl.load(q + t[:, None] * sqt + d[None, :] * sqd, mask=in_t, other=0.0)
    m = tl.full([BT], -float("inf"), tl.float32)
    l = tl.zeros([BT], tl.float32)
    o = tl.zeros([BT, BD], tl.float32)
    start = 0
    end = S
    if CAUSAL:
        end = tl.minimum(S, tl.program_id(0) * BT + BT + S - T)
    while start < end:
        s = (start + tl.arange(0, BS)).to(tl.int64)
        in_s = (s < S)[:, None] & (d < D)[None, :]
        kt = tl.load(k + s[:, None] * sks + d[None, :] * skd, mask=in_s, other=0.0)
        vt = tl.load(v + s[:, None] * svs + d[None, :] * svd, mask=in_s, other=0.0)
        bias = tl.where((s < S)[None, :], 0.0, -float("inf"))
        if CAUSAL:
            bias = bias + tl.where(s[None, :] <= t[:, None] + (S - T), 0.0, -float("inf"))
        z = tl.dot(qt, kt.T, input_precision="ieee") * scale + bias
        m_new = tl.maximum(m, tl.max(z, 1))
        m_new_0 = tl.where(m_new == -float("inf"), 0.0, m_new)
        p = tl.exp(z - m_new_0[:, None])
        fade = tl.exp(m - m_new_0)
        l = l * fade + tl.sum(p, 1)
        o = o * fade[:, None] + tl.dot(p.to(vt.dtype), vt, input_precision="ieee")
        m = m_new
        start += BS
    some = l > 0
    o = tl.where(some[:, None], o / tl.where(some, l, 1.0)[:, None], 0.0)
    tl.store(out + t[:, None] * D + d[None, :], o.to(out.dtype.element_ty), mask=in_t)
    tl.store(lse + t, tl.where(some, m + tl.log(tl.where(some, l, 1.0)), -float("inf")), mask=t < T)


def _heads(B, H, G):
    for b in range(B):
        for h in range(H):
            yield (b, h), (b, h // (H // G))


def flash_attention(
    q_BHTD: Tensor, k_BGSD: Tensor, v_BGSD: Tensor, *,
    scale: float | None = None, causal: bool = False,
) -> tuple[Tensor, Tensor]:
    _check_attention(q_BHTD, k_BGSD, v_BGSD)
    B, H, T, D = q_BHTD.shape
    G, S = k_BGSD.shape[1:3]
    out, lse = _new(q_BHTD), _new(q_BHTD, (B, H, T), torch.float32)
    for at, kv in _heads(B, H, G):
        q, k, v = q_BHTD[at], k_BGSD[kv], v_BGSD[kv]
        _head[(triton.cdiv(T, 32),)](
            q, k, v, out[at], lse[at], T, S, D, *q.stride(), *k.stride(), *v.stride(),
            _scale(scale, D), CAUSAL=bool(causal), BT=32, BS=64,
            BD=max(16, triton.next_power_of_2(D)),
        )
    return out, lse


@triton.jit
def _scores(q, k, v, do, out, lse, p, ds, lo, rows, T, S, D, sqt, sqd, sks, skd, svs, svd, sot, sod,
            sut, sud, slt, scale, CAUSAL: tl.constexpr, BT: tl.constexpr, BS: tl.constexpr, BD: tl.constexpr):
    # p and ds of a stripe of queries [rows, S]: a stripe is narrow, so this is no T × S matrix.
    t = (tl.program_id(0) * BT + tl.arange(0, BT)).to(tl.int64)
    s = (tl.program_id(1) * BS + tl.arange(0, BS)).to(tl.int64)
    d = tl.arange(0, BD).to(tl.int64)
    l = tl.load(lse + t * slt, mask=t < rows, other=-float("inf"))
    live = l > -float("inf")
    in_t = live[:, None] & (d < D)[None, :]
    in_s = (s < S)[:, None] & (d < D)[None, :]
    qt = tl.load(q + t[:, None] * sqt + d[None, :] * sqd, mask=in_t, other=0.0)
    x = tl.load(do + t[:, None] * sot + d[None, :] * sod, mask=in_t, other=0.0)
    y = tl.load(out + t[:, None] * sut + d[None, :] * sud, mask=in_t, other=0.0)
    kt = tl.load(k + s[:, None] * sks + d[None, :] * skd, mask=in_s, other=0.0)
    vt = tl.load(v + s[:, None] * svs + d[None, :] * svd, mask=in_s, other=0.0)
    delta = tl.sum(x.to(tl.float32) * y.to(tl.float32), 1)
    z = tl.dot(qt, kt.T, input_precision="ieee") * scale - tl.where(live, l, 0.0)[:, None]
    see = live[:, None] & (s < S)[None, :]
    if CAUSAL:
        see = see & (s[None, :] <= (lo + t)[:, None] + (S - T))
    w = tl.exp(tl.where(see, z, -float("inf")))
    dp = tl.dot(x, vt.T, input_precision="ieee")
    at = t[:, None] * S + s[None, :]
    ok = (t < rows)[:, None] & (s < S)[None, :]
    tl.store(p + at, w.to(p.dtype.element_ty), mask=ok)
    tl.store(ds + at, (w * (dp - delta[:, None])).to(ds.dtype.element_ty), mask=ok)


@triton.jit
def _blank(x, lse, out, D, sxt, sxd, slt, BD: tl.constexpr):
    # A copy of a stripe with rows of 0 where a query saw nothing.
    t = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, BD).to(tl.int64)
    live = tl.load(lse + t * slt) > -float("inf")
    e = tl.load(x + t * sxt + d * sxd, mask=live & (d < D), other=0.0)
    tl.store(out + t * D + d, e, mask=d < D)


def flash_attention_backward(
    do_BHTD: Tensor, qkv: tuple[Tensor, Tensor, Tensor], forward: tuple[Tensor, Tensor], *,
    scale: float | None = None, causal: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    (q, k, v), (out, lse) = qkv, forward
    _check_attention_backward(do_BHTD, q, k, v, out, lse)
    B, H, T, D = q.shape
    G, S = k.shape[1:3]
    factor, wide = _scale(scale, D), max(16, triton.next_power_of_2(D))
    dq, dk, dv = (_zeros(x, x.shape, torch.float32) for x in (q, k, v))
    for at, kv in _heads(B, H, G):
        for lo, hi in _halves(0, T, 64):
            rows = hi - lo
            stripe = [x[at][lo:hi] for x in (q, do_BHTD, out)]
            sums = lse[at][lo:hi]
            p, ds = _new(q, (rows, S)), _new(q, (rows, S))
            _scores[(triton.cdiv(rows, 32), triton.cdiv(S, 32))](
                stripe[0], k[kv], v[kv], stripe[1], stripe[2], sums, p, ds, lo, rows, T, S, D,
                *stripe[0].stride(), *k[kv].stride(), *v[kv].stride(), *stripe[1].stride(),
                *stripe[2].stride(), sums.stride(0), factor, CAUSAL=bool(causal), BT=32, BS=32, BD=wide,
            )
            clean = [_new(q, (rows, D)) for _ in range(2)]
            for x, y in zip(stripe[:2], clean, strict=True):
                _blank[(rows,)](x, sums, y, D, *x.stride(), sums.stride(0), BD=wide)
            _multiply(ds, k[kv], dq[at][lo:hi], factor)
            _multiply(ds.transpose(0, 1), clean[0], dk[kv], factor, add=True)
            _multiply(p.transpose(0, 1), clean[1], dv[kv], add=True)
    return dq.to(q.dtype), dk.to(k.dtype), dv.to(v.dtype)
