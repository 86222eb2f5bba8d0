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


# A row in registers wherever it fits; partial sums in a buffer; attention in powers of two with
# atomics for dq.

LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)


@triton.jit
def _add_rows(x, y, z, N, sxm, sxn, sym, syn, BLOCK: tl.constexpr):
    chunks = tl.cdiv(N, BLOCK)
    pid = tl.program_id(0).to(tl.int64)
    row = pid // chunks
    cols = pid % chunks * BLOCK + tl.arange(0, BLOCK)
    inside = cols < N
    a = tl.load(x + row * sxm + cols * sxn, mask=inside)
    b = tl.load(y + row * sym + cols * syn, mask=inside)
    tl.store(z + row * N + cols, a + b, mask=inside)


def matrix_add(x_MN: Tensor, y_MN: Tensor) -> Tensor:
    _check_add(x_MN, y_MN)
    M, N = x_MN.shape
    z = torch.empty((M, N), dtype=x_MN.dtype, device=x_MN.device)
    if z.numel() == 0:
        return z
    block = min(1024, triton.next_power_of_2(N))
    _add_rows[(M * triton.cdiv(N, block),)](
        x_MN, y_MN, z, N, *x_MN.stride(), *y_MN.stride(), BLOCK=block
    )
    return z


@triton.jit
def _softmax_row(x, y, N, sm, sn, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK)
    e = tl.load(x + row * sm + cols.to(tl.int64) * sn, mask=cols < N, other=-float("inf"))
    e = e.to(tl.float32)
    top = tl.max(e, 0)
    e = tl.exp(e - tl.where(top == -float("inf"), 0.0, top))
    tl.store(y + row * N + cols, (e / tl.sum(e, 0)).to(y.dtype.element_ty), mask=cols < N)


@triton.jit
def _softmax_online(x, y, N, sm, sn, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    top = -float("inf")
    total = 0.0
    for start in range(0, N, BLOCK):
        cols = (start + tl.arange(0, BLOCK)).to(tl.int64)
        e = tl.load(x + row * sm + cols * sn, mask=cols < N, other=-float("inf")).to(tl.float32)
        new = tl.maximum(top, tl.max(e, 0))
        safe = tl.where(new == -float("inf"), 0.0, new)
        total = total * tl.exp(top - safe) + tl.sum(tl.exp(e - safe), 0)
        top = new
    safe = tl.where(top == -float("inf"), 0.0, top)
    for start in range(0, N, BLOCK):
        cols = (start + tl.arange(0, BLOCK)).to(tl.int64)
        e = tl.load(x + row * sm + cols * sn, mask=cols < N, other=-float("inf")).to(tl.float32)
        tl.store(y + row * N + cols, (tl.exp(e - safe) / total).to(y.dtype.element_ty), mask=cols < N)


def softmax(x_MN: Tensor) -> Tensor:
    _check_softmax(x_MN)
    M, N = x_MN.shape
    y = _new(x_MN)
    if M == 0:
        return y
    if N <= 32768:
        _softmax_row[(M,)](x_MN, y, N, *x_MN.stride(), BLOCK=triton.next_power_of_2(N), num_warps=8)
    else:
        _softmax_online[(M,)](x_MN, y, N, *x_MN.stride(), BLOCK=8192, num_warps=8)
    return y


@triton.jit
def _norm_row(
    x, w, b, y, mean, rstd, H, sm, sh, sw, sb, eps, CENTER: tl.constexpr, BLOCK: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK).to(tl.int64)
    inside = cols < H
    e = tl.load(x + row * sm + cols * sh, mask=inside, other=0.0).to(tl.float32)
    if CENTER:
        mu = tl.sum(e, 0) / H
        e = tl.where(inside, e - mu, 0.0)
        tl.store(mean + row, mu)
    r = 1.0 / tl.sqrt(tl.sum(e * e, 0) / H + eps)
    tl.store(rstd + row, r)
    out = e * r * tl.load(w + cols * sw, mask=inside, other=0.0).to(tl.float32)
    if CENTER:
        out += tl.load(b + cols * sb, mask=inside, other=0.0).to(tl.float32)
    tl.store(y + row * H + cols, out.to(y.dtype.element_ty), mask=inside)


@triton.jit
def _norm_row_backward(
    dy, x, w, mean, rstd, dx, part_w, part_b, M, H, sdm, sdh, sxm, sxh, sw, su, sr,
    CENTER: tl.constexpr, BLOCK: tl.constexpr,
):
    pid = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK).to(tl.int64)
    inside = cols < H
    weight = tl.load(w + cols * sw, mask=inside, other=0.0).to(tl.float32)
    sum_w = tl.zeros([BLOCK], tl.float32)
    sum_b = tl.zeros([BLOCK], tl.float32)
    for row in range(pid, M, tl.num_programs(0)):
        e = tl.load(x + row * sxm + cols * sxh, mask=inside, other=0.0).to(tl.float32)
        d = tl.load(dy + row * sdm + cols * sdh, mask=inside, other=0.0).to(tl.float32)
        r = tl.load(rstd + row * sr)
        if CENTER:
            e = tl.where(inside, e - tl.load(mean + row * su), 0.0)
        xhat = e * r
        g = d * weight
        rest = g - xhat * (tl.sum(g * xhat, 0) / H)
        if CENTER:
            rest -= tl.sum(g, 0) / H
        tl.store(dx + row * H + cols, (rest * r).to(dx.dtype.element_ty), mask=inside)
        sum_w += d * xhat
        sum_b += d
    tl.store(part_w + pid * H + cols, sum_w, mask=inside)
    if CENTER:
        tl.store(part_b + pid * H + cols, sum_b, mask=inside)


@triton.jit
def _add_parts(part, out, P, H, BP: tl.constexpr, BH: tl.constexpr):
    cols = tl.program_id(0) * BH + tl.arange(0, BH)
    total = tl.zeros([BP, BH], tl.float32)
    for start in range(0, P, BP):
        rows = start + tl.arange(0, BP)
        inside = (rows[:, None] < P) & (cols[None, :] < H)
        total += tl.load(part + rows[:, None] * H + cols[None, :], mask=inside, other=0.0)
    tl.store(out + cols, tl.sum(total, 0).to(out.dtype.element_ty), mask=cols < H)


def _norm_backward(dy, x, w, mean, rstd, center):
    M, H = x.shape
    dx = _new(x)
    programs = max(1, min(M, 256))
    part_w, part_b = (_new(x, (programs, H), torch.float32) for _ in range(2))
    _norm_row_backward[(programs,)](
        dy, x, w, mean, rstd, dx, part_w, part_b, M, H, *dy.stride(), *x.stride(), w.stride(0),
        mean.stride(0), rstd.stride(0), CENTER=center, BLOCK=triton.next_power_of_2(H),
    )
    sums = []
    for part in (part_w, part_b)[: 1 + center]:
        out = _new(w)
        _add_parts[(triton.cdiv(H, 64),)](part, out, programs, H, BP=32, BH=64)
        sums.append(out)
    return (dx, *sums)


def rmsnorm(x_MH: Tensor, w_H: Tensor, *, eps: float = 1e-6) -> tuple[Tensor, Tensor]:
    _check_norm(x_MH, eps, w_H)
    M, H = x_MH.shape
    y, rstd = _new(x_MH), _new(x_MH, (M,), torch.float32)
    if M:
        _norm_row[(M,)](
            x_MH, w_H, w_H, y, rstd, rstd, H, *x_MH.stride(), w_H.stride(0), 0, float(eps),
            CENTER=False, BLOCK=triton.next_power_of_2(H),
        )
    return y, rstd


def rmsnorm_backward(
    dy_MH: Tensor, x_MH: Tensor, w_H: Tensor, rstd_M: Tensor
) -> tuple[Tensor, Tensor]:
    _check_norm_backward(dy_MH, x_MH, w_H, rstd_M)
    return _norm_backward(dy_MH, x_MH, w_H, rstd_M, rstd_M, False)


def layernorm(
    x_MH: Tensor, w_H: Tensor, b_H: Tensor, *, eps: float = 1e-5
) -> tuple[Tensor, Tensor, Tensor]:
    _check_norm(x_MH, eps, w_H, b_H)
    M, H = x_MH.shape
    y, mean, rstd = _new(x_MH), _new(x_MH, (M,), torch.float32), _new(x_MH, (M,), torch.float32)
    if M:
        _norm_row[(M,)](
            x_MH, w_H, b_H, y, mean, rstd, H, *x_MH.stride(), w_H.stride(0), b_H.stride(0),
            float(eps), CENTER=True, BLOCK=triton.next_power_of_2(H),
        )
    return y, mean, rstd


def layernorm_backward(
    dy_MH: Tensor, x_MH: Tensor, *, w_H: Tensor, mean_M: Tensor, rstd_M: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    _check_norm_backward(dy_MH, x_MH, w_H, mean_M, rstd_M)
    return _norm_backward(dy_MH, x_MH, w_H, mean_M, rstd_M, True)


@triton.jit
def _ce_stats(x, target, loss_sum, kept, lse, V, sm, sv, st, ignore, BLOCK: tl.constexpr):
    # Online pass; the loss and the number of kept rows are added by atomics.
    row = tl.program_id(0).to(tl.int64)
    t = tl.load(target + row * st).to(tl.int64)
    if t != ignore:
        top = -float("inf")
        total = 0.0
        for start in range(0, V, BLOCK):
            cols = (start + tl.arange(0, BLOCK)).to(tl.int64)
            e = tl.load(x + row * sm + cols * sv, mask=cols < V, other=-float("inf")).to(tl.float32)
            new = tl.maximum(top, tl.max(e, 0))
            safe = tl.where(new == -float("inf"), 0.0, new)
            total = total * tl.exp(top - safe) + tl.sum(tl.exp(e - safe), 0)
            top = new
        hit = tl.load(x + row * sm + t * sv).to(tl.float32)
        tl.store(lse + row * 2, top)
        tl.store(lse + row * 2 + 1, total)
        tl.atomic_add(loss_sum, (top - hit) + tl.log(total))
        tl.atomic_add(kept, 1)


@triton.jit
def _ce_gradient(x, target, kept, lse, dx, V, sm, sv, st, ignore, BLOCK: tl.constexpr):
    chunks = tl.cdiv(V, BLOCK)
    pid = tl.program_id(0).to(tl.int64)
    row = pid // chunks
    cols = pid % chunks * BLOCK + tl.arange(0, BLOCK)
    t = tl.load(target + row * st).to(tl.int64)
    d = tl.zeros([BLOCK], tl.float32)
    if t != ignore:
        top = tl.load(lse + row * 2)
        total = tl.load(lse + row * 2 + 1)
        e = tl.load(x + row * sm + cols * sv, mask=cols < V, other=-float("inf")).to(tl.float32)
        d = tl.exp(e - top) / total - tl.where(cols == t, 1.0, 0.0)
        d = d / tl.load(kept).to(tl.float32)
    tl.store(dx + row * V + cols, d.to(dx.dtype.element_ty), mask=cols < V)


@triton.jit
def _divide(loss_sum, kept, loss):
    tl.store(loss, tl.load(loss_sum) / tl.load(kept).to(tl.float32))


def cross_entropy(
    x_MV: Tensor, target_M: Tensor, *, ignore_index: int = -100
) -> tuple[Tensor, Tensor]:
    _check_cross_entropy(x_MV, target_M)
    M, V = x_MV.shape
    rest = (V, *x_MV.stride(), target_M.stride(0), _ignored(ignore_index))
    dx, loss, lse = _new(x_MV), _new(x_MV, (), torch.float32), _new(x_MV, (M, 2), torch.float32)
    loss_sum, kept = _zeros(x_MV, (1,), torch.float32), _zeros(x_MV, (1,), torch.int32)
    _ce_stats[(M,)](x_MV, target_M, loss_sum, kept, lse, *rest, BLOCK=8192)
    _ce_gradient[(M * triton.cdiv(V, 8192),)](x_MV, target_M, kept, lse, dx, *rest, BLOCK=8192)
    _divide[(1,)](loss_sum, kept, loss)
    return loss, dx


@triton.jit
def _epilogue(acc, ACT: tl.constexpr):
    if ACT == "gelu":
        acc = acc * (0.5 + 0.5 * tl.erf(acc * 0.70710678118654752))
    elif ACT == "gelu_tanh":
        acc = acc * tl.sigmoid(1.5957691216057308 * acc * (1.0 + 0.044715 * acc * acc))
    return acc


@triton.jit
def _matmul_grouped(
    a, b, bias, c, M, N, K, sam, sak, sbk, sbn, sbias, BIAS: tl.constexpr, ACT: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, GROUP: tl.constexpr,
):
    pid = tl.program_id(0)
    down = tl.cdiv(M, BM)
    across = tl.cdiv(N, BN)
    group = pid // (GROUP * across)
    size = tl.minimum(down - group * GROUP, GROUP)
    m = group * GROUP + pid % (GROUP * across) % size
    n = pid % (GROUP * across) // size
    rows = (m * BM + tl.arange(0, BM)).to(tl.int64)
    cols = (n * BN + tl.arange(0, BN)).to(tl.int64)
    inner = tl.arange(0, BK).to(tl.int64)
    at = a + rows[:, None] * sam + inner[None, :] * sak
    bt = b + inner[:, None] * sbk + cols[None, :] * sbn
    acc = tl.zeros([BM, BN], tl.float32)
    for k in range(0, tl.cdiv(K, BK)):
        left = K - k * BK
        e = tl.load(at, mask=(rows[:, None] < M) & (inner[None, :] < left), other=0.0)
        f = tl.load(bt, mask=(inner[:, None] < left) & (cols[None, :] < N), other=0.0)
        acc = tl.dot(e, f, acc, input_precision="ieee")
        at += BK * sak
        bt += BK * sbk
    if BIAS:
        acc += tl.load(bias + cols * sbias, mask=cols < N, other=0.0).to(tl.float32)[None, :]
    acc = _epilogue(acc, ACT)
    inside = (rows[:, None] < M) & (cols[None, :] < N)
    tl.store(c + rows[:, None] * N + cols[None, :], acc.to(c.dtype.element_ty), mask=inside)


def matmul(
    a_MK: Tensor, b_KN: Tensor, bias_N: Tensor | None = None, *, activation: str = "none"
) -> Tensor:
    _check_matmul(a_MK, b_KN, bias_N, activation)
    (M, K), N = a_MK.shape, b_KN.shape[1]
    c = _new(a_MK, (M, N))
    if c.numel():
        bias = c if bias_N is None else bias_N
        _matmul_grouped[(triton.cdiv(M, 128) * triton.cdiv(N, 64),)](
            a_MK, b_KN, bias, c, M, N, K, *a_MK.stride(), *b_KN.stride(), bias.stride(0),
            BIAS=bias_N is not None, ACT=activation, BM=128, BN=64, BK=64, GROUP=8, num_warps=8,
        )
    return c


@triton.jit
def _forward_tile(
    q, k, v, out, lse, sqb, sqh, sqt, sqd, skb, skg, sks, skd, svb, svg, svs, svd,
    H, G, T, S, D, scale2, CAUSAL: tl.constexpr, BT: tl.constexpr, BS: tl.constexpr, BD: tl.constexpr,
):
    tiles = tl.cdiv(T, BT)
    pid = tl.program_id(0).to(tl.int64)
    bh = pid // tiles
    b = bh // H
    h = bh % H
    g = h * G // H
    t = pid % tiles * BT + tl.arange(0, BT)
    d = tl.arange(0, BD).to(tl.int64)
    q_at = q + b * sqb + h * sqh + t[:, None] * sqt + d[None, :] * sqd
    qt = tl.load(q_at, mask=(t[:, None] < T) & (d[None, :] < D), other=0.0)
    m = tl.full([BT], -float("inf"), tl.float32)
    l = tl.zeros([BT], tl.float32)
    o = tl.zeros([BT, BD], tl.float32)
    last = S
    if CAUSAL:
        last = tl.minimum(pid % tiles * BT + BT + S - T, S)
    for start in range(0, last, BS):
        s = (start + tl.arange(0, BS)).to(tl.int64)
        # Keys are loaded already transposed: [D, S].
        kt = tl.load(
            k + b * skb + g * skg + s[None, :] * sks + d[:, None] * skd,
            mask=(s[None, :] < S) & (d[:, None] < D), other=0.0,
        )
        vt = tl.load(
            v + b * svb + g * svg + s[:, None] * svs + d[None, :] * svd,
            mask=(s[:, None] < S) & (d[None, :] < D), other=0.0,
        )
        x = tl.dot(qt, kt, input_precision="ieee") * scale2
        if CAUSAL:
            x = tl.where((s[None, :] < S) & (s[None, :] - t[:, None] <= S - T), x, -float("inf"))
        else:
            x = tl.where(s[None, :] < S, x, -float("inf"))
        m_new = tl.maximum(m, tl.max(x, 1))
        base = tl.where(m_new == -float("inf"), 0.0, m_new)
        p = tl.exp2(x - base[:, None])
        alpha = tl.exp2(m - base)
        l = l * alpha + tl.sum(p, 1)
        o = tl.dot(p.to(vt.dtype), vt, o * alpha[:, None], input_precision="ieee")
        m = m_new
    o = tl.where(l[:, None] > 0, o / l[:, None], 0.0)
    inside = (t[:, None] < T) & (d[None, :] < D)
    tl.store(out + (bh * T + t)[:, None] * D + d[None, :], o.to(out.dtype.element_ty), mask=inside)
    tl.store(lse + bh * T + t, (m + tl.log2(l)) * LN2, mask=t < T)


def flash_attention(
    q_BHTD: Tensor, k_BGSD: Tensor, v_BGSD: Tensor, *,
    scale: float | None = None, causal: bool = False,
) -> tuple[Tensor, Tensor]:
    _check_attention(q_BHTD, k_BGSD, v_BGSD)
    B, H, T, D = q_BHTD.shape
    G, S = k_BGSD.shape[1:3]
    out, lse = _new(q_BHTD), _new(q_BHTD, (B, H, T), torch.float32)
    if out.numel():
        _forward_tile[(B * H * triton.cdiv(T, 64),)](
            q_BHTD, k_BGSD, v_BGSD, out, lse, *q_BHTD.stride(), *k_BGSD.stride(), *v_BGSD.stride(),
            H, G, T, S, D, _scale(scale, D) * LOG2E.value, CAUSAL=bool(causal), BT=64, BS=32,
            BD=max(16, triton.next_power_of_2(D)),
        )
    return out, lse


@triton.jit
def _delta_rows(do, out, delta, sob, soh, sot, sod, sub, suh, sut, sud, H, T, D, BD: tl.constexpr):
    pid = tl.program_id(0).to(tl.int64)
    t = pid % T
    h = pid // T % H
    b = pid // T // H
    d = tl.arange(0, BD).to(tl.int64)
    x = tl.load(do + b * sob + h * soh + t * sot + d * sod, mask=d < D, other=0.0).to(tl.float32)
    y = tl.load(out + b * sub + h * suh + t * sut + d * sud, mask=d < D, other=0.0).to(tl.float32)
    tl.store(delta + pid, tl.sum(x * y, 0))


@triton.jit
def _backward_tile(
    do, q, k, v, lse, delta, dq, dk, dv, sob, soh, sot, sod, sqb, sqh, sqt, sqd, skb, skg, sks, skd,
    svb, svg, svs, svd, slb, slh, slt, H, G, T, S, D, scale,
    CAUSAL: tl.constexpr, BT: tl.constexpr, BS: tl.constexpr, BD: tl.constexpr,
):
    # One block of keys of one query head; all three gradients are added by atomics in float32.
    tiles = tl.cdiv(S, BS)
    pid = tl.program_id(0).to(tl.int64)
    bh = pid // tiles
    b = bh // H
    h = bh % H
    g = h // (H // G)
    s = pid % tiles * BS + tl.arange(0, BS)
    d = tl.arange(0, BD).to(tl.int64)
    in_s = (s[:, None] < S) & (d[None, :] < D)
    kt = tl.load(k + b * skb + g * skg + s[:, None] * sks + d[None, :] * skd, mask=in_s, other=0.0)
    vt = tl.load(v + b * svb + g * svg + s[:, None] * svs + d[None, :] * svd, mask=in_s, other=0.0)
    sum_k = tl.zeros([BS, BD], tl.float32)
    sum_v = tl.zeros([BS, BD], tl.float32)
    for start in range(0, T, BT):
        t = (start + tl.arange(0, BT)).to(tl.int64)
        l = tl.load(lse + b * slb + h * slh + t * slt, mask=t < T, other=-float("inf"))
        live = l > -float("inf")
        in_t = live[:, None] & (d[None, :] < D)
        qt = tl.load(q + b * sqb + h * sqh + t[:, None] * sqt + d[None, :] * sqd, mask=in_t, other=0.0)
        x = tl.load(do + b * sob + h * soh + t[:, None] * sot + d[None, :] * sod, mask=in_t, other=0.0)
        e = tl.load(delta + bh * T + t, mask=live, other=0.0)
        see = live[:, None] & (s[None, :] < S)
        if CAUSAL:
            see = see & (s[None, :] - t[:, None] <= S - T)
        z = tl.dot(qt, tl.trans(kt), input_precision="ieee") * scale
        p = tl.exp(tl.where(see, z - tl.where(live, l, 0.0)[:, None], -float("inf")))
        dp = tl.dot(x, tl.trans(vt), input_precision="ieee")
        ds = p * (dp - e[:, None]) * scale
        sum_v += tl.dot(tl.trans(p).to(x.dtype), x, input_precision="ieee")
        sum_k += tl.dot(tl.trans(ds).to(qt.dtype), qt, input_precision="ieee")
        part = tl.dot(ds.to(kt.dtype), kt, input_precision="ieee")
        tl.atomic_add(dq + (bh * T + t)[:, None] * D + d[None, :], part, mask=in_t)
    at = ((b * G + g) * S + s)[:, None] * D + d[None, :]
    tl.atomic_add(dk + at, sum_k, mask=in_s)
    tl.atomic_add(dv + at, sum_v, mask=in_s)


def flash_attention_backward(
    do_BHTD: Tensor, qkv: tuple[Tensor, Tensor, Tensor], forward: tuple[Tensor, Tensor], *,
    scale: float | None = None, causal: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = qkv
    out, lse = forward
    _check_attention_backward(do_BHTD, q, k, v, out, lse)
    B, H, T, D = q.shape
    G, S = k.shape[1:3]
    grads = [_zeros(x, x.shape, torch.float32) for x in (q, k, v)]
    if q.numel():
        wide = max(16, triton.next_power_of_2(D))
        delta = _new(q, (B, H, T), torch.float32)
        _delta_rows[(B * H * T,)](
            do_BHTD, out, delta, *do_BHTD.stride(), *out.stride(), H, T, D, BD=wide
        )
        _backward_tile[(B * H * triton.cdiv(S, 32),)](
            do_BHTD, q, k, v, lse, delta, *grads, *do_BHTD.stride(), *q.stride(), *k.stride(),
            *v.stride(), *lse.stride(), H, G, T, S, D, _scale(scale, D),
            CAUSAL=bool(causal), BT=32, BS=32, BD=wide,
        )
    return tuple(grad.to(q.dtype) for grad in grads)
