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


# Flat: element numbers taken apart with // and %, lanes that keep their own running values, and
# products as broadcast sums, one query or one key at a time.


@triton.jit
def _flat_add(x, y, z, size, N, sxm, sxn, sym, syn, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    row = i // N
    col = i % N
    a = tl.load(x + row * sxm + col * sxn, mask=i < size, other=0.0)
    b = tl.load(y + row * sym + col * syn, mask=i < size, other=0.0)
    tl.store(z + i, a + b, mask=i < size)


def matrix_add(x_MN: Tensor, y_MN: Tensor) -> Tensor:
    _check_add(x_MN, y_MN)
    z = _new(x_MN)
    if size := z.numel():
        _flat_add[(triton.cdiv(size, 1024),)](
            x_MN, y_MN, z, size, z.shape[1], *x_MN.stride(), *y_MN.stride(), BLOCK=1024
        )
    return z


@triton.jit
def _lane_softmax(x, y, M, N, sm, sn, BM: tl.constexpr, BN: tl.constexpr):
    # Every lane has a maximum and a sum of its own; they meet once, at the end.
    row = (tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM))[:, None]
    lane = tl.arange(0, BN).to(tl.int64)[None, :]
    m = tl.full([BM, BN], -float("inf"), tl.float32)
    l = tl.zeros([BM, BN], tl.float32)
    for start in range(0, N, BN):
        ok = (row < M) & (start + lane < N)
        e = tl.load(x + row * sm + (start + lane) * sn, mask=ok, other=-float("inf")).to(tl.float32)
        new = tl.maximum(m, e)
        safe = tl.where(new == -float("inf"), 0.0, new)
        l = l * tl.exp(m - safe) + tl.exp(e - safe)
        m = new
    top = tl.max(m, 1)
    top = tl.where(top == -float("inf"), 0.0, top)[:, None]
    total = tl.sum(l * tl.exp(m - top), 1)[:, None]
    for start in range(0, N, BN):
        ok = (row < M) & (start + lane < N)
        e = tl.load(x + row * sm + (start + lane) * sn, mask=ok, other=-float("inf")).to(tl.float32)
        tl.store(y + row * N + start + lane, (tl.exp(e - top) / total).to(y.dtype.element_ty), mask=ok)


def softmax(x_MN: Tensor) -> Tensor:
    _check_softmax(x_MN)
    y = _new(x_MN)
    M, N = x_MN.shape
    if M > 0:
        _lane_softmax[(triton.cdiv(M, 4),)](x_MN, y, M, N, *x_MN.stride(), BM=4, BN=1024)
    return y


@triton.jit
def _tile_norm(x, w, b, y, mean, rstd, M, H, sm, sh, sw, sb, eps, LN: tl.constexpr, BM: tl.constexpr, BH: tl.constexpr):
    row = (tl.program_id(0) * BM + tl.arange(0, BM)).to(tl.int64)
    col = tl.arange(0, BH).to(tl.int64)
    ok = (row < M)[:, None] & (col < H)[None, :]
    e = tl.load(x + row[:, None] * sm + col[None, :] * sh, mask=ok, other=0.0).to(tl.float32)
    shift = tl.zeros([BH], tl.float32)
    if LN:
        mu = tl.sum(e, 1) / H
        # The mean of what is left repairs the rounding of the first mean.
        mu += tl.sum(tl.where(ok, e - mu[:, None], 0.0), 1) / H
        tl.store(mean + row, mu, mask=row < M)
        e = tl.where(ok, e - mu[:, None], 0.0)
        shift = tl.load(b + col * sb, mask=col < H, other=0.0).to(tl.float32)
    r = 1.0 / tl.sqrt(tl.sum(e * e, 1) / H + eps)
    tl.store(rstd + row, r, mask=row < M)
    weight = tl.load(w + col * sw, mask=col < H, other=0.0).to(tl.float32)
    out = e * r[:, None] * weight[None, :] + shift[None, :]
    tl.store(y + row[:, None] * H + col[None, :], out.to(y.dtype.element_ty), mask=ok)


@triton.jit
def _tile_norm_backward(
    dy, x, w, mean, rstd, dx, dw, db, M, H, sdm, sdh, sxm, sxh, sw, su, sr,
    LN: tl.constexpr, BM: tl.constexpr, BH: tl.constexpr,
):
    row = (tl.program_id(0) * BM + tl.arange(0, BM)).to(tl.int64)
    col = tl.arange(0, BH).to(tl.int64)
    ok = (row < M)[:, None] & (col < H)[None, :]
    e = tl.load(x + row[:, None] * sxm + col[None, :] * sxh, mask=ok, other=0.0).to(tl.float32)
    d = tl.load(dy + row[:, None] * sdm + col[None, :] * sdh, mask=ok, other=0.0).to(tl.float32)
    r = tl.load(rstd + row * sr, mask=row < M, other=0.0)[:, None]
    if LN:
        e = tl.where(ok, e - tl.load(mean + row * su, mask=row < M, other=0.0)[:, None], 0.0)
    xhat = e * r
    g = d * tl.load(w + col * sw, mask=col < H, other=0.0).to(tl.float32)[None, :]
    out = g - xhat * (tl.sum(g * xhat, 1) / H)[:, None]
    if LN:
        out -= (tl.sum(g, 1) / H)[:, None]
    tl.store(dx + row[:, None] * H + col[None, :], (out * r).to(dx.dtype.element_ty), mask=ok)
    tl.atomic_add(dw + col, tl.sum(d * xhat, 0), mask=col < H)
    if LN:
        tl.atomic_add(db + col, tl.sum(d, 0), mask=col < H)


def _norm_meta(x, center):
    wide = triton.next_power_of_2(x.shape[1])
    return dict(LN=center, BM=max(1, min(32, 8192 // wide)), BH=wide)


def _norm_forward(x, w, b, eps):
    M, H = x.shape
    y, mean, rstd = _new(x), _new(x, (M,), torch.float32), _new(x, (M,), torch.float32)
    if M:
        meta = _norm_meta(x, b is not None)
        bias = w if b is None else b
        _tile_norm[(triton.cdiv(M, meta["BM"]),)](
            x, w, bias, y, mean, rstd, M, H, *x.stride(), w.stride(0), bias.stride(0), float(eps), **meta
        )
    return y, mean, rstd


def _norm_backward(dy, x, w, mean, rstd):
    M, H = x.shape
    dx = _new(x)
    dw, db = _zeros(x, (H,), torch.float32), _zeros(x, (H,), torch.float32)
    if M:
        meta = _norm_meta(x, mean is not None)
        mean = rstd if mean is None else mean
        _tile_norm_backward[(triton.cdiv(M, meta["BM"]),)](
            dy, x, w, mean, rstd, dx, dw, db, M, H, *dy.stride(), *x.stride(), w.stride(0),
            mean.stride(0), rstd.stride(0), **meta,
        )
    return dx, dw.to(w.dtype), db.to(w.dtype)


def rmsnorm(x_MH: Tensor, w_H: Tensor, *, eps: float = 1e-6) -> tuple[Tensor, Tensor]:
    _check_norm(x_MH, eps, w_H)
    y, _, rstd = _norm_forward(x_MH, w_H, None, eps)
    return y, rstd


def rmsnorm_backward(
    dy_MH: Tensor, x_MH: Tensor, w_H: Tensor, rstd_M: Tensor
) -> tuple[Tensor, Tensor]:
    _check_norm_backward(dy_MH, x_MH, w_H, rstd_M)
    dx, dw, _ = _norm_backward(dy_MH, x_MH, w_H, None, rstd_M)
    return dx, dw


def layernorm(
    x_MH: Tensor, w_H: Tensor, b_H: Tensor, *, eps: float = 1e-5
) -> tuple[Tensor, Tensor, Tensor]:
    _check_norm(x_MH, eps, w_H, b_H)
    return _norm_forward(x_MH, w_H, b_H, eps)


def layernorm_backward(
    dy_MH: Tensor, x_MH: Tensor, *, w_H: Tensor, mean_M: Tensor, rstd_M: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    _check_norm_backward(dy_MH, x_MH, w_H, mean_M, rstd_M)
    return _norm_backward(dy_MH, x_MH, w_H, mean_M, rstd_M)


@triton.jit
def _lane_ce(x, target, dx, losses, kept, V, sm, sv, st, ignore, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, BLOCK).to(tl.int64)
    t = tl.load(target + row * st).to(tl.int64)
    keep = t != ignore
    m = tl.full([BLOCK], -float("inf"), tl.float32)
    l = tl.zeros([BLOCK], tl.float32)
    for start in range(0, V, BLOCK):
        j = start + lane
        e = tl.load(x + row * sm + j * sv, mask=keep & (j < V), other=-float("inf")).to(tl.float32)
        new = tl.maximum(m, e)
        safe = tl.where(new == -float("inf"), 0.0, new)
        l = l * tl.exp(m - safe) + tl.exp(e - safe)
        m = new
    top = tl.max(m, 0)
    top = tl.where(top == -float("inf"), 0.0, top)
    total = tl.where(keep, tl.sum(l * tl.exp(m - top), 0), 1.0)
    hit = tl.load(x + row * sm + t * sv, mask=keep, other=0.0).to(tl.float32)
    tl.store(losses + row, tl.where(keep, (top - hit) + tl.log(total), 0.0))
    share = tl.where(keep, 1.0 / tl.maximum(tl.load(kept), 1.0), 0.0)
    for start in range(0, V, BLOCK):
        j = start + lane
        e = tl.load(x + row * sm + j * sv, mask=keep & (j < V), other=-float("inf")).to(tl.float32)
        d = (tl.exp(e - top) / total - tl.where(j == t, 1.0, 0.0)) * share
        tl.store(dx + row * V + j, d.to(dx.dtype.element_ty), mask=j < V)


@triton.jit
def _add_up(values, target, out, size, st, ignore, COUNT: tl.constexpr, BLOCK: tl.constexpr):
    acc = tl.zeros([BLOCK], tl.float32)
    for start in range(0, size, BLOCK):
        i = (start + tl.arange(0, BLOCK)).to(tl.int64)
        if COUNT:
            t = tl.load(target + i * st, mask=i < size, other=0).to(tl.int64)
            acc += tl.where((i < size) & (t != ignore), 1.0, 0.0)
        else:
            acc += tl.load(values + i, mask=i < size, other=0.0)
    if COUNT:
        tl.store(out, tl.sum(acc, 0))
    else:
        tl.store(out, tl.sum(acc, 0) / tl.load(target))


def cross_entropy(
    x_MV: Tensor, target_M: Tensor, *, ignore_index: int = -100
) -> tuple[Tensor, Tensor]:
    _check_cross_entropy(x_MV, target_M)
    M, V = x_MV.shape
    st, ignore = target_M.stride(0), _ignored(ignore_index)
    dx, loss = _new(x_MV), _new(x_MV, (), torch.float32)
    losses, kept = _new(x_MV, (M,), torch.float32), _new(x_MV, (1,), torch.float32)
    _add_up[(1,)](losses, target_M, kept, M, st, ignore, COUNT=True, BLOCK=512)
    _lane_ce[(M,)](x_MV, target_M, dx, losses, kept, V, *x_MV.stride(), st, ignore, BLOCK=2048)
    _add_up[(1,)](losses, kept, loss, M, 0, 0, COUNT=False, BLOCK=512)
    return loss, dx


@triton.jit
def _row_matmul(
    a, b, bias, c, N, K, sam, sak, sbk, sbn, sbias, BIAS: tl.constexpr, ACT: tl.constexpr,
    BN: tl.constexpr, BK: tl.constexpr,
):
    # One row of a against a stripe of b, without tl.dot.
    tiles = tl.cdiv(N, BN)
    pid = tl.program_id(0).to(tl.int64)
    row = pid // tiles
    n = pid % tiles * BN + tl.arange(0, BN)
    acc = tl.zeros([BK, BN], tl.float32)
    for start in range(0, K, BK):
        k = (start + tl.arange(0, BK)).to(tl.int64)
        e = tl.load(a + row * sam + k * sak, mask=k < K, other=0.0).to(tl.float32)
        ok = (k < K)[:, None] & (n < N)[None, :]
        f = tl.load(b + k[:, None] * sbk + n[None, :] * sbn, mask=ok, other=0.0).to(tl.float32)
        acc += e[:, None] * f
    out = tl.sum(acc, 0)
    if BIAS:
        out += tl.load(bias + n * sbias, mask=n < N, other=0.0).to(tl.float32)
    if ACT == "gelu":
        out = out * (1.0 + tl.erf(out * 0.7071067811865476)) / 2.0
    if ACT == "gelu_tanh":
        inner = 0.7978845608028654 * (out + 0.044715 * out * out * out)
        flip = tl.exp(-2.0 * tl.abs(inner))
        tanh = (1.0 - flip) / (1.0 + flip)
        out = out * (1.0 + tl.where(inner < 0, -tanh, tanh)) / 2.0
    tl.store(c + row * N + n, out.to(c.dtype.element_ty), mask=n < N)


def matmul(
    a_MK: Tensor, b_KN: Tensor, bias_N: Tensor | None = None, *, activation: str = "none"
) -> Tensor:
    _check_matmul(a_MK, b_KN, bias_N, activation)
    (M, K), N = a_MK.shape, b_KN.shape[1]
    c = _new(a_MK, (M, N))
    if M * N:
        bias = a_MK if bias_N is None else bias_N
        _row_matmul[(M * triton.cdiv(N, 128),)](
            a_MK, b_KN, bias, c, N, K, *a_MK.stride(), *b_KN.stride(), bias.stride(0),
            BIAS=bias_N is not None, ACT=activation, BN=128, BK=32,
        )
    return c


@triton.jit
def _one_query(
    q, k, v, out, lse, sqb, sqh, sqt, sqd, skb, skg, sks, skd, svb, svg, svs, svd,
    H, G, T, S, D, scale, CAUSAL: tl.constexpr, BS: tl.constexpr, BD: tl.constexpr,
):
    pid = tl.program_id(0).to(tl.int64)
    t = pid % T
    h = pid // T % H
    b = pid // T // H
    g = h // (H // G)
    d = tl.arange(0, BD).to(tl.int64)
    query = tl.load(q + b * sqb + h * sqh + t * sqt + d * sqd, mask=d < D, other=0.0).to(tl.float32)
    sees = S
    if CAUSAL:
        sees = tl.maximum(tl.minimum(t + S - T + 1, S), 0)
    m = -float("inf")
    l = 0.0
    o = tl.zeros([BD], tl.float32)
    for start in range(0, sees, BS):
        s = (start + tl.arange(0, BS)).to(tl.int64)
        ok = (s < sees)[:, None] & (d < D)[None, :]
        keys = tl.load(k + b * skb + g * skg + s[:, None] * sks + d[None, :] * skd, mask=ok, other=0.0)
        z = tl.sum(keys.to(tl.float32) * query[None, :], 1) * scale
        z = tl.where(s < sees, z, -float("inf"))
        new = tl.maximum(m, tl.max(z, 0))
        old = tl.exp(m - new)
        p = tl.exp(z - new)
        values = tl.load(v + b * svb + g * svg + s[:, None] * svs + d[None, :] * svd, mask=ok, other=0.0)
        l = l * old + tl.sum(p, 0)
        o = o * old + tl.sum(p[:, None] * values.to(tl.float32), 0)
        m = new
    if sees > 0:
        o = o / l
        m += tl.log(l)
    tl.store(out + pid * D + d, o.to(out.dtype.element_ty), mask=d < D)
    tl.store(lse + pid, m)


def flash_attention(
    q_BHTD: Tensor, k_BGSD: Tensor, v_BGSD: Tensor, *,
    scale: float | None = None, causal: bool = False,
) -> tuple[Tensor, Tensor]:
    _check_attention(q_BHTD, k_BGSD, v_BGSD)
    B, H, T, D = q_BHTD.shape
    G, S = k_BGSD.shape[1:3]
    out, lse = _new(q_BHTD), _new(q_BHTD, (B, H, T), torch.float32)
    if B * H:
        _one_query[(B * H * T,)](
            q_BHTD, k_BGSD, v_BGSD, out, lse, *q_BHTD.stride(), *k_BGSD.stride(), *v_BGSD.stride(),
            H, G, T, S, D, _scale(scale, D), CAUSAL=bool(causal), BS=64,
            BD=triton.next_power_of_2(D),
        )
    return out, lse


@triton.jit
def _one_query_backward(
    do, q, k, v, out, lse, dq, dk, dv, sob, soh, sot, sod, sqb, sqh, sqt, sqd, skb, skg, sks, skd,
    svb, svg, svs, svd, sub, suh, sut, sud, slb, slh, slt, H, G, T, S, D, scale,
    CAUSAL: tl.constexpr, BS: tl.constexpr, BD: tl.constexpr,
):
    # One query; its shares of dk and dv are added by atomics in float32.
    pid = tl.program_id(0).to(tl.int64)
    t = pid % T
    h = pid // T % H
    b = pid // T // H
    g = h // (H // G)
    d = tl.arange(0, BD).to(tl.int64)
    in_d = d < D
    sum_q = tl.zeros([BD], tl.float32)
    l = tl.load(lse + b * slb + h * slh + t * slt)
    if l > -float("inf"):
        qt = tl.load(q + b * sqb + h * sqh + t * sqt + d * sqd, mask=in_d, other=0.0).to(tl.float32)
        x = tl.load(do + b * sob + h * soh + t * sot + d * sod, mask=in_d, other=0.0).to(tl.float32)
        y = tl.load(out + b * sub + h * suh + t * sut + d * sud, mask=in_d, other=0.0).to(tl.float32)
        delta = tl.sum(x * y, 0)
        sees = S
        if CAUSAL:
            sees = tl.maximum(tl.minimum(t + S - T + 1, S), 0)
        for start in range(0, sees, BS):
            s = (start + tl.arange(0, BS)).to(tl.int64)
            ok = (s < sees)[:, None] & in_d[None, :]
            k_at = k + b * skb + g * skg + s[:, None] * sks + d[None, :] * skd
            v_at = v + b * svb + g * svg + s[:, None] * svs + d[None, :] * svd
            keys = tl.load(k_at, mask=ok, other=0.0).to(tl.float32)
            values = tl.load(v_at, mask=ok, other=0.0).to(tl.float32)
            z = tl.sum(keys * qt[None, :], 1) * scale
            p = tl.where(s < sees, tl.exp(z - l), 0.0)
            ds = p * (tl.sum(values * x[None, :], 1) - delta) * scale
            sum_q += tl.sum(ds[:, None] * keys, 0)
            at = ((b * G + g) * S + s)[:, None] * D + d[None, :]
            tl.atomic_add(dk + at, ds[:, None] * qt[None, :], mask=ok)
            tl.atomic_add(dv + at, p[:, None] * x[None, :], mask=ok)
    tl.store(dq + pid * D + d, sum_q.to(dq.dtype.element_ty), mask=in_d)


def flash_attention_backward(
    do_BHTD: Tensor, qkv: tuple[Tensor, Tensor, Tensor], forward: tuple[Tensor, Tensor], *,
    scale: float | None = None, causal: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = qkv
    out, lse = forward
    _check_attention_backward(do_BHTD, q, k, v, out, lse)
    B, H, T, D = q.shape
    G, S = k.shape[1:3]
    dq = _new(q)
    dk, dv = _zeros(k, k.shape, torch.float32), _zeros(k, k.shape, torch.float32)
    if B * H:
        _one_query_backward[(B * H * T,)](
            do_BHTD, q, k, v, out, lse, dq, dk, dv,
            *(s for x in (do_BHTD, q, k, v, out, lse) for s in x.stride()),
            H, G, T, S, D, _scale(scale, D), CAUSAL=bool(causal), BS=32,
            BD=triton.next_power_of_2(D),
        )
    return dq, dk.to(k.dtype), dv.to(v.dtype)
