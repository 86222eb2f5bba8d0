# misses = ["flash_attention.time", "flash_attention_backward.time"]

"""Every kernel takes tiles of several rows, loops along the other dimension, and masks everywhere.

Norms read a row three times, attention visits every tile of keys, and gradients of weights are sums
of a program that walks down a tile of columns: no partial sums are left for later.
"""

# ruff: noqa: PLR0913 - a kernel has a parameter for each stride of each tensor

import torch
import triton
import triton.language as tl

ROWS, COLUMNS = 8, 512
TILE = 32
ALLOWED = [torch.float32, torch.float16, torch.bfloat16]


def _refuse(problem):
    raise ValueError(problem)


def _is_matrix(name, x):
    if x.ndim != 2 or x.dtype not in ALLOWED:
        _refuse(f"{name} is no matrix of floats")


def _is_vector(name, x, length, allowed=ALLOWED):
    if x.ndim != 1 or x.size(0) != length or x.dtype not in allowed:
        _refuse(f"{name} is no vector of {length}")


def _is_like(name, x, model):
    if x.size() != model.size() or x.dtype != model.dtype:
        _refuse(f"{name} is another kind of tensor")


@triton.jit
def _load(x, m, n, M, N, sm, sn, fill):
    """Load a tile by its row and column numbers, `fill` outside of the matrix."""
    inside = (m[:, None] < M) & (n[None, :] < N)
    place = x + m[:, None].to(tl.int64) * sm + n[None, :].to(tl.int64) * sn
    return tl.load(place, mask=inside, other=fill)


@triton.jit
def _store(x, value, m, n, M, N):
    """Store a tile of a contiguous matrix."""
    inside = (m[:, None] < M) & (n[None, :] < N)
    tl.store(x + m[:, None].to(tl.int64) * N + n[None, :], value, mask=inside)


@triton.jit
def _numbers(BLOCK: tl.constexpr, AXIS: tl.constexpr):
    return tl.program_id(AXIS) * BLOCK + tl.arange(0, BLOCK)


@triton.jit
def _sum_kernel(x, y, out, M, N, xm, xn, ym, yn, BM: tl.constexpr, BN: tl.constexpr):
    m, n = _numbers(BM, 0), _numbers(BN, 1)
    total = _load(x, m, n, M, N, xm, xn, 0.0).to(tl.float32)
    total += _load(y, m, n, M, N, ym, yn, 0.0).to(tl.float32)
    _store(out, total, m, n, M, N)


def matrix_add(x_MN, y_MN):
    _is_matrix("x", x_MN)
    _is_like("y", y_MN, x_MN)
    M, N = x_MN.size()
    out = x_MN.new_empty((M, N))
    if M and N:
        grid = (triton.cdiv(M, TILE), triton.cdiv(N, TILE))
        strides = (*x_MN.stride(), *y_MN.stride())
        _sum_kernel[grid](x_MN, y_MN, out, M, N, *strides, BM=TILE, BN=TILE)
    return out


@triton.jit
def _grow(top, total, x):
    """Take a tile of logits into the running maximum and the running sum of each row."""
    above = tl.maximum(top, tl.max(x, axis=1))
    shift = tl.where(above == -float("inf"), 0.0, above)
    total = total * tl.exp(top - shift) + tl.sum(tl.exp(x - shift[:, None]), axis=1)
    return above, total


@triton.jit
def _softmax_kernel(x, out, M, N, xm, xn, BM: tl.constexpr, BN: tl.constexpr):
    m = _numbers(BM, 0)
    top = tl.full((BM,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BM,), dtype=tl.float32)
    for start in range(0, N, BN):
        n = start + tl.arange(0, BN)
        tile = _load(x, m, n, M, N, xm, xn, -float("inf")).to(tl.float32)
        top, total = _grow(top, total, tile)
    for start in range(0, N, BN):
        n = start + tl.arange(0, BN)
        tile = _load(x, m, n, M, N, xm, xn, -float("inf")).to(tl.float32)
        _store(out, tl.exp(tile - top[:, None]) / total[:, None], m, n, M, N)


def softmax(x_MN):
    _is_matrix("x", x_MN)
    M, N = x_MN.size()
    if not N:
        _refuse("no columns")
    out = x_MN.new_empty((M, N))
    if M:
        grid = (triton.cdiv(M, ROWS),)
        _softmax_kernel[grid](x_MN, out, M, N, *x_MN.stride(), BM=ROWS, BN=2 * COLUMNS)
    return out


@triton.jit
def _norm_kernel(x, w, b, y, means, rstds, M, H, eps, xm, xh, ws, bs, LAYER: tl.constexpr,
                 BM: tl.constexpr, BN: tl.constexpr):  # fmt: skip
    m = _numbers(BM, 0)
    mean = tl.zeros((BM,), dtype=tl.float32)
    if LAYER:
        for start in range(0, H, BN):
            tile = _load(x, m, start + tl.arange(0, BN), M, H, xm, xh, 0.0)
            mean += tl.sum(tile.to(tl.float32), axis=1)
        mean = mean / H
        tl.store(means + m, mean, mask=m < M)
    squares = tl.zeros((BM,), dtype=tl.float32)
    for start in range(0, H, BN):
        h = start + tl.arange(0, BN)
        tile = _load(x, m, h, M, H, xm, xh, 0.0).to(tl.float32) - mean[:, None]
        squares += tl.sum(tl.where(h[None, :] < H, tile * tile, 0.0), axis=1)
    rstd = 1.0 / tl.sqrt(squares / H + eps)
    tl.store(rstds + m, rstd, mask=m < M)
    for start in range(0, H, BN):
        h = start + tl.arange(0, BN)
        tile = _load(x, m, h, M, H, xm, xh, 0.0).to(tl.float32) - mean[:, None]
        tile *= rstd[:, None] * tl.load(w + h * ws, mask=h < H, other=0.0).to(tl.float32)[None, :]
        if LAYER:
            tile += tl.load(b + h * bs, mask=h < H, other=0.0).to(tl.float32)[None, :]
        _store(y, tile, m, h, M, H)


def _norm(x, w, b, eps):
    _is_matrix("x", x)
    M, H = x.size()
    for name, vector in (("w", w), ("b", b)):
        _is_vector(name, vector, H)
    if eps < 0 or not H:
        _refuse("a negative eps, or no columns")
    y = x.new_empty((M, H))
    mean, rstd = x.new_empty((2, M), dtype=torch.float32)
    if M:
        _norm_kernel[(triton.cdiv(M, ROWS),)](
            x, w, b, y, mean, rstd, M, H, eps, *x.stride(), w.stride(0), b.stride(0),
            LAYER=b is not w, BM=ROWS, BN=COLUMNS,
        )  # fmt: skip
    return y, mean, rstd


def rmsnorm(x_MH, w_H, *, eps=1e-6):
    y, _, rstd = _norm(x_MH, w_H, w_H, eps)
    return y, rstd


def layernorm(x_MH, w_H, b_H, *, eps=1e-5):
    return _norm(x_MH, w_H, b_H.view(-1) if b_H.ndim == 1 else b_H, eps)


@triton.jit
def _slopes(dy, x, w, mean, rstd, m, h, M, H, dm, dh, xm, xh, ws):
    """Return dy, the normalised tile and dy · w."""
    slope = _load(dy, m, h, M, H, dm, dh, 0.0).to(tl.float32)
    normal = _load(x, m, h, M, H, xm, xh, 0.0).to(tl.float32)
    normal = (normal - mean[:, None]) * rstd[:, None]
    weight = tl.load(w + h * ws, mask=h < H, other=0.0).to(tl.float32)
    return slope, normal, slope * weight[None, :]


@triton.jit
def _norm_dx_kernel(dy, x, w, means, rstds, dx, M, H, dm, dh, xm, xh, ws, LAYER: tl.constexpr,
                    BM: tl.constexpr, BN: tl.constexpr):  # fmt: skip
    m = _numbers(BM, 0)
    rstd = tl.load(rstds + m, mask=m < M, other=0.0)
    mean = tl.zeros((BM,), dtype=tl.float32)
    if LAYER:
        mean = tl.load(means + m, mask=m < M, other=0.0)
    along = tl.zeros((BM,), dtype=tl.float32)
    level = tl.zeros((BM,), dtype=tl.float32)
    for start in range(0, H, BN):
        h = start + tl.arange(0, BN)
        _, normal, g = _slopes(dy, x, w, mean, rstd, m, h, M, H, dm, dh, xm, xh, ws)
        along += tl.sum(g * normal, axis=1)
        level += tl.sum(g, axis=1)
    if not LAYER:
        level = level * 0.0
    for start in range(0, H, BN):
        h = start + tl.arange(0, BN)
        _, normal, g = _slopes(dy, x, w, mean, rstd, m, h, M, H, dm, dh, xm, xh, ws)
        away = (level[:, None] + normal * along[:, None]) / H
        _store(dx, rstd[:, None] * (g - away), m, h, M, H)


@triton.jit
def _norm_dw_kernel(dy, x, w, means, rstds, dw, db, M, H, dm, dh, xm, xh, ws,
                    LAYER: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr):  # fmt: skip
    h = _numbers(BN, 0)
    for_w = tl.zeros((BN,), dtype=tl.float32)
    for_b = tl.zeros((BN,), dtype=tl.float32)
    mean = tl.zeros((BM,), dtype=tl.float32)
    for start in range(0, M, BM):
        m = start + tl.arange(0, BM)
        rstd = tl.load(rstds + m, mask=m < M, other=0.0)
        if LAYER:
            mean = tl.load(means + m, mask=m < M, other=0.0)
        slope, normal, _ = _slopes(dy, x, w, mean, rstd, m, h, M, H, dm, dh, xm, xh, ws)
        for_w += tl.sum(slope * normal, axis=0)
        for_b += tl.sum(slope, axis=0)
    tl.store(dw + h, for_w, mask=h < H)
    if LAYER:
        tl.store(db + h, for_b, mask=h < H)


def _norm_backward(dy, x, w, means, rstds):
    _is_matrix("x", x)
    M, H = x.size()
    _is_like("dy", dy, x)
    _is_vector("w", w, H)
    for name, vector in (("mean", means), ("rstd", rstds)):
        _is_vector(name, vector, M, [torch.float32])
    layer = means is not rstds
    dx, dw, db = x.new_empty((M, H)), w.new_empty(H), w.new_empty(H)
    sizes = (M, H, *dy.stride(), *x.stride(), w.stride(0))
    rows = (dy, x, w, means.contiguous(), rstds.contiguous())
    _norm_dx_kernel[(triton.cdiv(M, ROWS),)](*rows, dx, *sizes, LAYER=layer, BM=ROWS, BN=COLUMNS)
    grid = (triton.cdiv(H, TILE),)
    _norm_dw_kernel[grid](*rows, dw, db, *sizes, LAYER=layer, BM=TILE, BN=TILE)
    return dx, dw, db


def rmsnorm_backward(dy_MH, x_MH, w_H, rstd_M):
    dx, dw, _ = _norm_backward(dy_MH, x_MH, w_H, rstd_M, rstd_M)
    return dx, dw


def layernorm_backward(dy_MH, x_MH, *, w_H, mean_M, rstd_M):
    return _norm_backward(dy_MH, x_MH, w_H, mean_M, rstd_M)


@triton.jit
def _loss_kernel(x, target, loss, dx, M, V, ignore, xm, xv, ts, BM: tl.constexpr,
                 BN: tl.constexpr):  # fmt: skip
    m = _numbers(BM, 0)
    labels = tl.load(target + m * ts, mask=m < M, other=ignore)
    count = tl.zeros((BM,), dtype=tl.float32)
    for start in range(0, M, BM):
        other = start + tl.arange(0, BM)
        some = tl.load(target + other * ts, mask=other < M, other=ignore)
        count += tl.where(some != ignore, 1.0, 0.0)
    kept = tl.sum(count)
    top = tl.full((BM,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BM,), dtype=tl.float32)
    own = tl.zeros((BM,), dtype=tl.float32)
    for start in range(0, V, BN):
        v = start + tl.arange(0, BN)
        tile = _load(x, m, v, M, V, xm, xv, -float("inf")).to(tl.float32)
        top, total = _grow(top, total, tile)
        own += tl.sum(tl.where(v[None, :] == labels[:, None], tile, 0.0), axis=1)
    here = labels != ignore
    tl.store(loss + m, tl.where(here, (tl.log(total) + (top - own)) / kept, 0.0), mask=m < M)
    for start in range(0, V, BN):
        v = start + tl.arange(0, BN)
        tile = _load(x, m, v, M, V, xm, xv, -float("inf")).to(tl.float32)
        slope = tl.exp(tile - top[:, None]) / total[:, None]
        slope -= tl.where(v[None, :] == labels[:, None], 1.0, 0.0)
        _store(dx, tl.where(here[:, None], slope / kept, 0.0), m, v, M, V)


@triton.jit
def _all_kernel(loss, target, out, M, ignore, ts, BM: tl.constexpr):
    total = tl.zeros((BM,), dtype=tl.float32)
    kept = tl.zeros((BM,), dtype=tl.int32)
    for start in range(0, M, BM):
        m = start + tl.arange(0, BM)
        total += tl.load(loss + m, mask=m < M, other=0.0)
        labels = tl.load(target + m * ts, mask=m < M, other=ignore)
        kept += (labels != ignore).to(tl.int32)
    tl.store(out, tl.where(tl.sum(kept) == 0, float("nan"), tl.sum(total)))


def cross_entropy(x_MV, target_M, *, ignore_index=-100):
    _is_matrix("x", x_MV)
    M, V = x_MV.size()
    _is_vector("target", target_M, M, [torch.int32, torch.int64])
    if not V:
        _refuse("no columns")
    dx, loss = x_MV.new_empty((M, V)), x_MV.new_empty(M, dtype=torch.float32)
    out, step = x_MV.new_empty((), dtype=torch.float32), target_M.stride(0)
    _loss_kernel[(triton.cdiv(M, ROWS),)](
        x_MV, target_M, loss, dx, M, V, ignore_index, *x_MV.stride(), step, BM=ROWS, BN=4 * COLUMNS
    )
    _all_kernel[(1,)](loss, target_M, out, M, ignore_index, step, BM=TILE)
    return out, dx


@triton.jit
def _epilogue(acc, KIND: tl.constexpr):
    if KIND == "gelu":
        acc = acc * (0.5 + 0.5 * tl.erf(acc / 1.4142135623730951))
    if KIND == "gelu_tanh":
        cubic = acc + 0.044715 * acc * acc * acc
        acc = acc / (1.0 + tl.exp(-1.5957691216057308 * cubic))
    return acc


@triton.jit
def _matmul_kernel(a, b, bias, out, M, N, K, am, ak, bk, bn, cs, HAS_BIAS: tl.constexpr,
                   KIND: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    m, n = _numbers(BLOCK, 0), _numbers(BLOCK, 1)
    acc = tl.zeros((BLOCK, BLOCK), dtype=tl.float32)
    for start in range(0, K, BLOCK):
        k = start + tl.arange(0, BLOCK)
        left, right = _load(a, m, k, M, K, am, ak, 0.0), _load(b, k, n, K, N, bk, bn, 0.0)
        acc += tl.dot(left, right, input_precision="ieee")
    if HAS_BIAS:
        acc += tl.load(bias + n * cs, mask=n < N, other=0.0).to(tl.float32)[None, :]
    _store(out, _epilogue(acc, KIND), m, n, M, N)


def matmul(a_MK, b_KN, bias_N=None, *, activation="none"):
    _is_matrix("a", a_MK)
    _is_matrix("b", b_KN)
    (M, K), N = a_MK.size(), b_KN.size(1)
    if b_KN.size(0) != K or a_MK.dtype != b_KN.dtype:
        _refuse("a and b do not fit")
    if bias_N is not None:
        _is_vector("bias", bias_N, N)
    if activation not in {"none", "gelu", "gelu_tanh"}:
        _refuse(f"no such activation: {activation}")
    out = a_MK.new_empty((M, N))
    if M and N:
        grid = (triton.cdiv(M, TILE), triton.cdiv(N, TILE))
        some, step = (out, 0) if bias_N is None else (bias_N, bias_N.stride(0))
        strides = (*a_MK.stride(), *b_KN.stride(), step)
        flags = {"HAS_BIAS": bias_N is not None, "KIND": activation, "BLOCK": TILE}
        _matmul_kernel[grid](a_MK, b_KN, some, out, M, N, K, *strides, **flags)
    return out


@triton.jit
def _seen(t, s, T, S, CAUSAL: tl.constexpr):
    """Return which queries see which keys, nothing outside of either."""
    seen = (t[:, None] < T) & (s[None, :] < S)
    if CAUSAL:
        seen = seen & (t[:, None] - T >= s[None, :] - S)
    return seen


@triton.jit
def _forward_kernel(q, k, v, o, lse, H, GROUP, T, S, D, scale, qb, qh, qt, qd, kb, kh, ks, kd,
                    vb, vh, vs, vd, CAUSAL: tl.constexpr, BT: tl.constexpr,
                    BD: tl.constexpr):  # fmt: skip
    t, d, head = _numbers(BT, 0), tl.arange(0, BD), tl.program_id(1).to(tl.int64)
    b, h = head // H, head % H
    q_TD = _load(q + b * qb + h * qh, t, d, T, D, qt, qd, 0.0)
    top = tl.full((BT,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BT,), dtype=tl.float32)
    acc = tl.zeros((BT, BD), dtype=tl.float32)
    for start in range(0, S, BT):
        s = start + tl.arange(0, BT)
        keys = _load(k + b * kb + h // GROUP * kh, s, d, S, D, ks, kd, 0.0)
        values = _load(v + b * vb + h // GROUP * vh, s, d, S, D, vs, vd, 0.0)
        scores = scale * tl.dot(q_TD, tl.trans(keys), input_precision="ieee")
        scores = tl.where(_seen(t, s, T, S, CAUSAL), scores, -float("inf"))
        above = tl.maximum(top, tl.max(scores, axis=1))
        shift = tl.where(above == -float("inf"), 0.0, above)
        weights, shrink = tl.exp(scores - shift[:, None]), tl.exp(top - shift)
        total = total * shrink + tl.sum(weights, axis=1)
        part = tl.dot(weights.to(values.dtype), values, input_precision="ieee")
        acc, top = acc * shrink[:, None] + part, above
    empty = total == 0.0
    _store(o + head * T * D, acc / tl.where(empty, 1.0, total)[:, None], t, d, T, D)
    tl.store(lse + head * T + t, top + tl.log(tl.where(empty, 1.0, total)), mask=t < T)


def _are_heads(q, k, v):
    for name, x in (("q", q), ("k", k), ("v", v)):
        if x.ndim != 4 or x.dtype not in ALLOWED or x.dtype != q.dtype:
            _refuse(f"{name} has no heads, or another dtype")
    _is_like("v", v, k)
    (B, H, _, D), (rows, G, _, width) = q.size(), k.size()
    if rows != B or width != D or not 1 <= D <= 128 or not G or H % G:
        _refuse("heads do not fit each other")
    return B, H, G


def flash_attention(q_BHTD, k_BGSD, v_BGSD, *, scale=None, causal=False):
    B, H, G = _are_heads(q_BHTD, k_BGSD, v_BGSD)
    (T, D), S = q_BHTD.size()[2:], k_BGSD.size(2)
    o, lse = q_BHTD.new_empty((B, H, T, D)), q_BHTD.new_empty((B, H, T), dtype=torch.float32)
    strides = (*q_BHTD.stride(), *k_BGSD.stride(), *v_BGSD.stride())
    _forward_kernel[(triton.cdiv(T, TILE), B * H)](
        q_BHTD, k_BGSD, v_BGSD, o, lse, H, H // G, T, S, D, D**-0.5 if scale is None else scale,
        *strides, CAUSAL=causal, BT=TILE, BD=max(16, triton.next_power_of_2(D)),
    )  # fmt: skip
    return o, lse


@triton.jit
def _tile_slopes(q, k, v, do, o, lse, t, s, T, S, scale, CAUSAL: tl.constexpr):
    """Return probabilities and the gradient of the scores of one tile."""
    scores = scale * tl.dot(q, tl.trans(k), input_precision="ieee")
    sums = tl.load(lse + t, mask=t < T, other=0.0)
    seen = _seen(t, s, T, S, CAUSAL)
    p = tl.where(seen, tl.exp(tl.where(seen, scores - sums[:, None], 0.0)), 0.0)
    delta = tl.sum(do.to(tl.float32) * o.to(tl.float32), axis=1)
    dp = tl.dot(do, tl.trans(v), input_precision="ieee") - delta[:, None]
    return p, p * dp


@triton.jit
def _dq_kernel(q, k, v, o, do, lse, dq, H, GROUP, T, S, D, scale, CAUSAL: tl.constexpr,
               BT: tl.constexpr, BD: tl.constexpr):  # fmt: skip
    t, d, head = _numbers(BT, 0), tl.arange(0, BD), tl.program_id(1).to(tl.int64)
    group = head // H * (H // GROUP) + head % H // GROUP
    rows = head * T * D
    q_TD, o_TD = _load(q + rows, t, d, T, D, D, 1, 0.0), _load(o + rows, t, d, T, D, D, 1, 0.0)
    do_TD = _load(do + rows, t, d, T, D, D, 1, 0.0)
    acc = tl.zeros((BT, BD), dtype=tl.float32)
    for start in range(0, S, BT):
        s = start + tl.arange(0, BT)
        keys = _load(k + group * S * D, s, d, S, D, D, 1, 0.0)
        values = _load(v + group * S * D, s, d, S, D, D, 1, 0.0)
        _, ds = _tile_slopes(q_TD, keys, values, do_TD, o_TD, lse + head * T, t, s, T, S, scale,
                             CAUSAL)  # fmt: skip
        acc += tl.dot(ds.to(keys.dtype), keys, input_precision="ieee")
    _store(dq + rows, acc * scale, t, d, T, D)


@triton.jit
def _dkv_kernel(q, k, v, o, do, lse, dk, dv, H, GROUP, T, S, D, scale, CAUSAL: tl.constexpr,
                BT: tl.constexpr, BD: tl.constexpr):  # fmt: skip
    s, d, group = _numbers(BT, 0), tl.arange(0, BD), tl.program_id(1).to(tl.int64)
    keys = _load(k + group * S * D, s, d, S, D, D, 1, 0.0)
    values = _load(v + group * S * D, s, d, S, D, D, 1, 0.0)
    for_k = tl.zeros((BT, BD), dtype=tl.float32)
    for_v = tl.zeros((BT, BD), dtype=tl.float32)
    for member in range(0, GROUP):
        head = group * GROUP + member
        for start in range(0, T, BT):
            t, rows = start + tl.arange(0, BT), head * T * D
            q_TD = _load(q + rows, t, d, T, D, D, 1, 0.0)
            o_TD = _load(o + rows, t, d, T, D, D, 1, 0.0)
            do_TD = _load(do + rows, t, d, T, D, D, 1, 0.0)
            p, ds = _tile_slopes(q_TD, keys, values, do_TD, o_TD, lse + head * T, t, s, T, S,
                                 scale, CAUSAL)  # fmt: skip
            for_v += tl.dot(tl.trans(p.to(do_TD.dtype)), do_TD, input_precision="ieee")
            for_k += tl.dot(tl.trans(ds.to(q_TD.dtype)), q_TD, input_precision="ieee")
    _store(dk + group * S * D, for_k * scale, s, d, S, D)
    _store(dv + group * S * D, for_v, s, d, S, D)


def flash_attention_backward(do_BHTD, qkv, forward, *, scale=None, causal=False):
    (q, k, v), (o, lse) = qkv, forward
    B, H, G = _are_heads(q, k, v)
    _is_like("do", do_BHTD, q)
    _is_like("o", o, q)
    if lse.size() != q.size()[:3] or lse.dtype != torch.float32:
        _refuse("the log-sum-exp does not fit")
    (T, D), S = q.size()[2:], k.size(2)
    flat = [x.contiguous() for x in (q, k, v, o, do_BHTD, lse)]
    dq, dk, dv = (x.new_empty(x.size()) for x in (q, k, v))
    sizes = (H, H // G, T, S, D, D**-0.5 if scale is None else scale)
    flags = {"CAUSAL": causal, "BT": 16, "BD": max(16, triton.next_power_of_2(D))}
    _dq_kernel[(triton.cdiv(T, 16), B * H)](*flat, dq, *sizes, **flags)
    _dkv_kernel[(triton.cdiv(S, 16), B * G)](*flat, dk, dv, *sizes, **flags)
    return dq, dk, dv
