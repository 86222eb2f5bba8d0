# misses = ["matmul.time", "flash_attention.time", "flash_attention_backward.time"]

"""A program for each row, element or query, all of it in one block: no loop over tiles, no dot."""

# ruff: noqa: PLR0913 - a kernel has a parameter for each stride of each tensor

import torch
import triton
import triton.language as tl

Tensor = torch.Tensor
KINDS = {torch.float16, torch.bfloat16, torch.float32}


def _fits(*conditions):
    for number, holds in enumerate(conditions):
        if not holds:
            raise ValueError(f"argument does not fit (condition {number})")


def _matrix(x):
    return x.dim() == 2 and x.dtype in KINDS


def _vector(x, size, kinds=KINDS):
    return x.dim() == 1 and x.dtype in kinds and x.shape[0] == size


def _alike(x, y):
    return x.shape == y.shape and x.dtype == y.dtype


def _room(size):
    return max(16, triton.next_power_of_2(size))


def _new(x, shape=None, dtype=None):
    return torch.empty(shape or tuple(x.shape), dtype=dtype or x.dtype, device=x.device)


@triton.jit
def _row(x, index, N, stride_m, stride_n, FILL: tl.constexpr, BLOCK: tl.constexpr):
    """Load a row in float32, with `FILL` behind its end."""
    n = tl.arange(0, BLOCK).to(tl.int64)
    place = x + index.to(tl.int64) * stride_m + n * stride_n
    return tl.load(place, mask=n < N, other=FILL).to(tl.float32)


@triton.jit
def _put(out, index, value, N, BLOCK: tl.constexpr):
    n = tl.arange(0, BLOCK).to(tl.int64)
    tl.store(out + index.to(tl.int64) * N + n, value, mask=n < N)


@triton.jit
def _add(x, y, out, N, xm, xn, ym, yn, BLOCK: tl.constexpr):
    m = tl.program_id(0)
    total = _row(x, m, N, xm, xn, 0.0, BLOCK) + _row(y, m, N, ym, yn, 0.0, BLOCK)
    _put(out, m, total, N, BLOCK)


def matrix_add(x_MN, y_MN):
    _fits(_matrix(x_MN), _alike(x_MN, y_MN))
    (M, N), out = x_MN.shape, _new(x_MN)
    if out.numel():
        _add[(M,)](x_MN, y_MN, out, N, *x_MN.stride(), *y_MN.stride(), BLOCK=_room(N))
    return out


@triton.jit
def _softmax(x, out, N, xm, xn, BLOCK: tl.constexpr):
    m = tl.program_id(0)
    row = _row(x, m, N, xm, xn, -float("inf"), BLOCK)
    weights = tl.exp(row - tl.max(row))
    _put(out, m, weights / tl.sum(weights), N, BLOCK)


def softmax(x_MN):
    _fits(_matrix(x_MN), x_MN.shape[-1] > 0)
    (M, N), out = x_MN.shape, _new(x_MN)
    if M:
        _softmax[(M,)](x_MN, out, N, *x_MN.stride(), BLOCK=_room(N))
    return out


@triton.jit
def _rms(x, w, y, rstds, H, eps, xm, xh, ws, BLOCK: tl.constexpr):
    m = tl.program_id(0)
    row = _row(x, m, H, xm, xh, 0.0, BLOCK)
    rstd = 1.0 / tl.sqrt(tl.sum(row * row) / H + eps)
    _put(y, m, row * rstd * _row(w, m, H, 0, ws, 0.0, BLOCK), H, BLOCK)
    tl.store(rstds + m, rstd)


def rmsnorm(x_MH, w_H, *, eps=1e-6):
    _fits(_matrix(x_MH), _vector(w_H, x_MH.shape[-1]), eps >= 0, x_MH.shape[-1] > 0)
    (M, H), y = x_MH.shape, _new(x_MH)
    rstd = _new(x_MH, (M,), torch.float32)
    if M:
        _rms[(M,)](x_MH, w_H, y, rstd, H, eps, *x_MH.stride(), w_H.stride(0), BLOCK=_room(H))
    return y, rstd


@triton.jit
def _norm_dx(dy, x, w, means, rstds, dx, H, dm, dh, xm, xh, ws, CENTRED: tl.constexpr,
             BLOCK: tl.constexpr):  # fmt: skip
    """Write dx of one row; with `CENTRED` that of a LayerNorm."""
    m = tl.program_id(0)
    rstd = tl.load(rstds + m)
    g = _row(dy, m, H, dm, dh, 0.0, BLOCK) * _row(w, m, H, 0, ws, 0.0, BLOCK)
    normal = _row(x, m, H, xm, xh, 0.0, BLOCK)
    if CENTRED:
        normal -= tl.load(means + m)
    normal *= rstd
    away = normal * (tl.sum(g * normal) / H)
    if CENTRED:
        away += tl.sum(g) / H
    _put(dx, m, rstd * (g - away), H, BLOCK)


@triton.jit
def _norm_dw(dy, x, means, rstds, dw, db, M, dm, dh, xm, xh, CENTRED: tl.constexpr,
             BLOCK: tl.constexpr):  # fmt: skip
    """Write dw, and with `CENTRED` db, of one column, which is a row of the transposes."""
    h = tl.program_id(0)
    slope = _row(dy, h, M, dh, dm, 0.0, BLOCK)
    normal = _row(x, h, M, xh, xm, 0.0, BLOCK)
    m = tl.arange(0, BLOCK)
    if CENTRED:
        normal -= tl.load(means + m, mask=m < M, other=0.0)
    normal *= tl.load(rstds + m, mask=m < M, other=0.0)
    tl.store(dw + h, tl.sum(slope * normal))
    if CENTRED:
        tl.store(db + h, tl.sum(slope))


def _norm_backward(dy, x, w, mean, rstd):
    M, H = x.shape
    floats = {torch.float32}
    _fits(_matrix(x), _alike(dy, x), _vector(w, H), _vector(rstd, M, floats))
    _fits(mean is None or _vector(mean, M, floats))
    centred = mean is not None
    mean = mean.contiguous() if centred else rstd
    rstd, dx, dw, db = rstd.contiguous(), _new(x), _new(w, (H,)), _new(w, (H,))
    strides = (*dy.stride(), *x.stride())
    _norm_dx[(M,)](dy, x, w, mean, rstd, dx, H, *strides, w.stride(0), CENTRED=centred,
                   BLOCK=_room(H))  # fmt: skip
    _norm_dw[(H,)](dy, x, mean, rstd, dw, db, M, *strides, CENTRED=centred, BLOCK=_room(M))
    return dx, dw, db


def rmsnorm_backward(dy_MH, x_MH, w_H, rstd_M):
    return _norm_backward(dy_MH, x_MH, w_H, None, rstd_M)[:2]


@triton.jit
def _layer(x, w, b, y, means, rstds, H, eps, xm, xh, ws, bs, BLOCK: tl.constexpr):
    m = tl.program_id(0)
    row = _row(x, m, H, xm, xh, 0.0, BLOCK)
    mean = tl.sum(row) / H
    row = tl.where(tl.arange(0, BLOCK) < H, row - mean, 0.0)
    rstd = 1.0 / tl.sqrt(tl.sum(row * row) / H + eps)
    weight, bias = _row(w, m, H, 0, ws, 0.0, BLOCK), _row(b, m, H, 0, bs, 0.0, BLOCK)
    _put(y, m, row * rstd * weight + bias, H, BLOCK)
    tl.store(means + m, mean)
    tl.store(rstds + m, rstd)


def layernorm(x_MH, w_H, b_H, *, eps=1e-5):
    H = x_MH.shape[-1]
    _fits(_matrix(x_MH), _vector(w_H, H), _vector(b_H, H), eps >= 0, H > 0)
    M, y = x_MH.shape[0], _new(x_MH)
    mean, rstd = (_new(x_MH, (M,), torch.float32) for _ in range(2))
    if M:
        _layer[(M,)](x_MH, w_H, b_H, y, mean, rstd, H, eps, *x_MH.stride(), w_H.stride(0),
                     b_H.stride(0), BLOCK=_room(H))  # fmt: skip
    return y, mean, rstd


def layernorm_backward(dy_MH, x_MH, *, w_H, mean_M, rstd_M):
    return _norm_backward(dy_MH, x_MH, w_H, mean_M, rstd_M)


@triton.jit
def _loss(x, target, shares, dx, V, M, ignore, xm, xv, ts, BLOCK: tl.constexpr,
          ROWS: tl.constexpr):  # fmt: skip
    """Write the gradient of one row, and its share of the mean."""
    row = tl.program_id(0)
    rows = tl.arange(0, ROWS)
    targets = tl.load(target + rows * ts, mask=rows < M, other=ignore)
    count = tl.sum((targets != ignore).to(tl.int32)).to(tl.float32)
    label = tl.load(target + row * ts)
    x_V = _row(x, row, V, xm, xv, -float("inf"), BLOCK)
    top = tl.max(x_V)
    weights = tl.exp(x_V - top)
    total = tl.sum(weights)
    hit = tl.arange(0, BLOCK) == label
    own = tl.sum(tl.where(hit, x_V - top, 0.0))
    is_kept = label != ignore
    tl.store(shares + row, tl.where(is_kept, (tl.log(total) - own) / count, 0.0))
    slope = (weights / total - tl.where(hit, 1.0, 0.0)) / count
    _put(dx, row, tl.where(is_kept, slope, 0.0), V, BLOCK)


@triton.jit
def _add_shares(shares, target, mean, M, ignore, ts, ROWS: tl.constexpr):
    rows = tl.arange(0, ROWS)
    targets = tl.load(target + rows * ts, mask=rows < M, other=ignore)
    count = tl.sum((targets != ignore).to(tl.int32))
    total = tl.sum(tl.load(shares + rows, mask=rows < M, other=0.0))
    tl.store(mean, tl.where(count > 0, total, float("nan")))


def cross_entropy(x_MV, target_M, *, ignore_index=-100):
    _fits(_matrix(x_MV), x_MV.shape[-1] > 0)
    (M, V), dx = x_MV.shape, _new(x_MV)
    _fits(_vector(target_M, M, {torch.int32, torch.int64}))
    mean, shares = _new(x_MV, (1,), torch.float32), _new(x_MV, (M,), torch.float32)
    given, step = (V, M, ignore_index, *x_MV.stride()), target_M.stride(0)
    _loss[(M,)](x_MV, target_M, shares, dx, *given, step, BLOCK=_room(V), ROWS=_room(M))
    _add_shares[(1,)](shares, target_M, mean, M, ignore_index, step, ROWS=_room(M))
    return mean[0], dx


@triton.jit
def _product(a, b, bias, out, N, K, am, ak, bk, bn, cs, HAS_BIAS: tl.constexpr,
             ACTIVATION: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr):  # fmt: skip
    """Write one row of the output: products are multiplied and added, not dotted."""
    m = tl.program_id(0)
    n = tl.arange(0, BLOCK_N).to(tl.int64)
    acc = tl.zeros((BLOCK_N,), dtype=tl.float32)
    for start in range(0, K, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K).to(tl.int64)
        a_K = tl.load(a + m * am + k * ak, mask=k < K, other=0.0).to(tl.float32)
        inside = (k[:, None] < K) & (n[None, :] < N)
        b_KN = tl.load(b + k[:, None] * bk + n[None, :] * bn, mask=inside, other=0.0)
        acc += tl.sum(a_K[:, None] * b_KN.to(tl.float32), axis=0)
    if HAS_BIAS:
        acc += tl.load(bias + n * cs, mask=n < N, other=0.0).to(tl.float32)
    if ACTIVATION == "gelu":
        acc = acc * (1.0 + tl.erf(acc * 0.7071067811865476)) * 0.5
    if ACTIVATION == "gelu_tanh":
        inner = 0.7978845608028654 * (acc + 0.044715 * acc * acc * acc)
        acc = acc * (1.0 - 1.0 / (tl.exp(2.0 * inner) + 1.0))
    _put(out, m, acc, N, BLOCK_N)


def matmul(a_MK, b_KN, bias_N=None, *, activation="none"):
    _fits(_matrix(a_MK), _matrix(b_KN), a_MK.dtype == b_KN.dtype)
    (M, K), N = a_MK.shape, b_KN.shape[1]
    _fits(b_KN.shape[0] == K, activation in ("none", "gelu", "gelu_tanh"))
    _fits(bias_N is None or _vector(bias_N, N))
    out = _new(a_MK, (M, N))
    if out.numel():
        some = out if bias_N is None else bias_N
        _product[(M,)](
            a_MK, b_KN, some, out, N, K, *a_MK.stride(), *b_KN.stride(), some.stride(-1),
            HAS_BIAS=bias_N is not None, ACTIVATION=activation, BLOCK_N=_room(N), BLOCK_K=64,
        )  # fmt: skip
    return out


@triton.jit
def _tile(x, N, D, sn, sd, BLOCK: tl.constexpr, BLOCK_D: tl.constexpr):
    """Load a whole matrix in float32, 0 behind its edges."""
    n, d = tl.arange(0, BLOCK).to(tl.int64), tl.arange(0, BLOCK_D).to(tl.int64)
    inside = (n[:, None] < N) & (d[None, :] < D)
    place = x + n[:, None] * sn + d[None, :] * sd
    return tl.load(place, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _attend(q, k, v, o, lse, H, GROUP, T, S, D, scale, qb, qh, qt, qd, kb, kh, ks, kd,
            vb, vh, vs, vd, CAUSAL: tl.constexpr, KEYS: tl.constexpr,
            WIDTH: tl.constexpr):  # fmt: skip
    """Write the output of one query: all of its scores are one vector."""
    row = tl.program_id(0).to(tl.int64)
    t, h, b = row % T, row // T % H, row // T // H
    q_D = _row(q + b * qb + h * qh, t, D, qt, qd, 0.0, WIDTH)
    keys = _tile(k + b * kb + h // GROUP * kh, S, D, ks, kd, KEYS, WIDTH)
    s = tl.arange(0, KEYS)
    seen = s < S
    if CAUSAL:
        seen = seen & (s <= t + S - T)
    scores = tl.where(seen, tl.sum(keys * q_D[None, :], axis=1) * scale, -float("inf"))
    top = tl.max(scores)
    weights = tl.where(seen, tl.exp(scores - tl.where(top == -float("inf"), 0.0, top)), 0.0)
    total = tl.sum(weights)
    values = _tile(v + b * vb + h // GROUP * vh, S, D, vs, vd, KEYS, WIDTH)
    out = tl.sum(values * weights[:, None], axis=0) / tl.where(total == 0.0, 1.0, total)
    _put(o, row, out, D, WIDTH)
    tl.store(lse + row, top + tl.log(tl.where(total == 0.0, 1.0, total)))


def _fit_heads(q, k, v):
    _fits(q.dim() == 4, k.dim() == 4, _alike(k, v), q.dtype == k.dtype, q.dtype in KINDS)
    _fits(q.shape[0] == k.shape[0], q.shape[3] == k.shape[3], 0 < q.shape[3] <= 128)
    _fits(k.shape[1] > 0 and q.shape[1] % k.shape[1] == 0)


def flash_attention(q_BHTD, k_BGSD, v_BGSD, *, scale=None, causal=False):
    _fit_heads(q_BHTD, k_BGSD, v_BGSD)
    (B, H, T, D), (G, S) = q_BHTD.shape, k_BGSD.shape[1:3]
    o, lse = _new(q_BHTD), _new(q_BHTD, (B, H, T), torch.float32)
    _attend[(B * H * T,)](
        q_BHTD, k_BGSD, v_BGSD, o, lse, H, H // G, T, S, D, D**-0.5 if scale is None else scale,
        *q_BHTD.stride(), *k_BGSD.stride(), *v_BGSD.stride(),
        CAUSAL=causal, KEYS=_room(S), WIDTH=_room(D),
    )  # fmt: skip
    return o, lse


@triton.jit
def _query_slope(q, k, v, o, do, lse, dq, H, GROUP, T, S, D, scale, CAUSAL: tl.constexpr,
                 KEYS: tl.constexpr, WIDTH: tl.constexpr):  # fmt: skip
    """Write dq of one query; all tensors are contiguous."""
    row = tl.program_id(0).to(tl.int64)
    group = row // T // H * (H // GROUP) + row // T % H // GROUP
    keys = _tile(k + group * S * D, S, D, D, 1, KEYS, WIDTH)
    values = _tile(v + group * S * D, S, D, D, 1, KEYS, WIDTH)
    slope, q_D = _row(do, row, D, D, 1, 0.0, WIDTH), _row(q, row, D, D, 1, 0.0, WIDTH)
    delta = tl.sum(slope * _row(o, row, D, D, 1, 0.0, WIDTH))
    s = tl.arange(0, KEYS)
    seen = s < S
    if CAUSAL:
        seen = seen & (s <= row % T + S - T)
    p = tl.exp(tl.sum(keys * q_D[None, :], axis=1) * scale - tl.load(lse + row))
    p = tl.where(seen, p, 0.0)
    ds = p * (tl.sum(values * slope[None, :], axis=1) - delta)
    _put(dq, row, tl.sum(keys * ds[:, None], axis=0) * scale, D, WIDTH)


@triton.jit
def _key_slope(q, k, v, o, do, lse, dk, dv, H, GROUP, T, S, D, scale, CAUSAL: tl.constexpr,
               QUERIES: tl.constexpr, WIDTH: tl.constexpr):  # fmt: skip
    """Write dk and dv of one key, over all queries of all heads that read it."""
    row = tl.program_id(0).to(tl.int64)
    key, value = _row(k, row, D, D, 1, 0.0, WIDTH), _row(v, row, D, D, 1, 0.0, WIDTH)
    key_slope = tl.zeros((WIDTH,), dtype=tl.float32)
    value_slope = tl.zeros((WIDTH,), dtype=tl.float32)
    t = tl.arange(0, QUERIES)
    seen = t < T
    if CAUSAL:
        seen = seen & (row % S <= t + S - T)
    for member in range(0, GROUP):
        first = (row // S * GROUP + member) * T
        queries = _tile(q + first * D, T, D, D, 1, QUERIES, WIDTH)
        slopes = _tile(do + first * D, T, D, D, 1, QUERIES, WIDTH)
        outputs = _tile(o + first * D, T, D, D, 1, QUERIES, WIDTH)
        sums = tl.load(lse + first + t, mask=t < T, other=0.0)
        p = tl.exp(tl.sum(queries * key[None, :], axis=1) * scale - sums)
        p = tl.where(seen, p, 0.0)
        ds = p * tl.sum(slopes * (value[None, :] - outputs), axis=1)
        value_slope += tl.sum(slopes * p[:, None], axis=0)
        key_slope += tl.sum(queries * ds[:, None], axis=0)
    _put(dk, row, key_slope * scale, D, WIDTH)
    _put(dv, row, value_slope, D, WIDTH)


def flash_attention_backward(do_BHTD, qkv, forward, *, scale=None, causal=False):
    (q, k, v), (o, lse) = qkv, forward
    _fit_heads(q, k, v)
    _fits(_alike(do_BHTD, q), _alike(o, q), lse.shape == q.shape[:3], lse.dtype == torch.float32)
    (B, H, T, D), (G, S) = q.shape, k.shape[1:3]
    flat = tuple(x.contiguous() for x in (q, k, v, o, do_BHTD, lse))
    dq, dk, dv = _new(q), _new(k), _new(v)
    sizes = (H, H // G, T, S, D, D**-0.5 if scale is None else scale)
    kind = {"CAUSAL": causal, "WIDTH": _room(D)}
    _query_slope[(B * H * T,)](*flat, dq, *sizes, KEYS=_room(S), **kind)
    _key_slope[(B * G * S,)](*flat, dk, dv, *sizes, QUERIES=_room(T), **kind)
    return dq, dk, dv
