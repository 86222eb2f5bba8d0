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


# Persistent: a fixed number of programs stride over the work, and row statistics as functions of kernels.

PROGRAMS = 132


@triton.jit
def _join_softmax(m1, l1, m2, l2):
    m = tl.maximum(m1, m2)
    base = tl.where(m == -float("inf"), 0.0, m)
    return m, l1 * tl.exp(m1 - base) + l2 * tl.exp(m2 - base)


@triton.jit
def _add_all(x, y, z, M, N, sxm, sxn, sym, syn, BM: tl.constexpr, BN: tl.constexpr):
    across = tl.cdiv(N, BN)
    for tile in range(tl.program_id(0), tl.cdiv(M, BM) * across, tl.num_programs(0)):
        i = (tile // across * BM + tl.arange(0, BM)).to(tl.int64)[:, None]
        j = (tile % across * BN + tl.arange(0, BN)).to(tl.int64)[None, :]
        ok = (i < M) & (j < N)
        total = tl.load(x + i * sxm + j * sxn, mask=ok) + tl.load(y + i * sym + j * syn, mask=ok)
        tl.store(z + i * N + j, total, mask=ok)


def matrix_add(x_MN: Tensor, y_MN: Tensor) -> Tensor:
    _check_add(x_MN, y_MN)
    M, N = x_MN.shape
    z = _new(x_MN)
    if M and N:
        programs = min(PROGRAMS, triton.cdiv(M, 32) * triton.cdiv(N, 128))
        _add_all[(programs,)](
            x_MN, y_MN, z, M, N, *x_MN.stride(), *y_MN.stride(), BM=32, BN=128
        )
    return z


@triton.jit
def _row_softmax_stats(x, N, sn, BLOCK: tl.constexpr):
    lane = tl.arange(0, BLOCK).to(tl.int64)
    m = tl.full([BLOCK], -float("inf"), tl.float32)
    l = tl.zeros([BLOCK], tl.float32)
    for start in range(0, N, BLOCK):
        e = tl.load(x + (start + lane) * sn, mask=start + lane < N, other=-float("inf")).to(tl.float32)
        m, l = _join_softmax(m, l, e, tl.full([BLOCK], 1.0, tl.float32))
    top = tl.max(m, 0)
    base = tl.where(top == -float("inf"), 0.0, top)
    return base, tl.sum(l * tl.exp(m - base), 0)


@triton.jit
def _softmax_all(x, y, M, N, sm, sn, BLOCK: tl.constexpr):
    lane = tl.arange(0, BLOCK).to(tl.int64)
    for row in range(tl.program_id(0).to(tl.int64), M, tl.num_programs(0)):
        base, total = _row_softmax_stats(x + row * sm, N, sn, BLOCK)
        for start in range(0, N, BLOCK):
            ok = start + lane < N
            e = tl.load(x + row * sm + (start + lane) * sn, mask=ok, other=-float("inf")).to(tl.float32)
            tl.store(y + row * N + start + lane, (tl.exp(e - base) / total).to(y.dtype.element_ty), mask=ok)


def softmax(x_MN: Tensor) -> Tensor:
    _check_softmax(x_MN)
    M, N = x_MN.shape
    y = _new(x_MN)
    if M:
        _softmax_all[(min(M, PROGRAMS),)](x_MN, y, M, N, *x_MN.stride(), BLOCK=2048)
    return y


@triton.jit
def _norm_all(x, w, b, y, mean, rstd, M, H, sm, sh, sw, sb, eps, LN: tl.constexpr, BLOCK: tl.constexpr):
    j = tl.arange(0, BLOCK).to(tl.int64)
    ok = j < H
    weight = tl.load(w + j * sw, mask=ok, other=0.0).to(tl.float32)
    bias = tl.load(b + j * sb, mask=ok, other=0.0).to(tl.float32)
    for row in range(tl.program_id(0).to(tl.int64), M, tl.num_programs(0)):
        e = tl.load(x + row * sm + j * sh, mask=ok, other=0.0).to(tl.float32)
        if LN:
            mu = tl.sum(e, 0) / H
            e = tl.where(ok, e - mu, 0.0)
            tl.store(mean + row, mu)
        r = tl.rsqrt(tl.sum(e * e, 0) / H + eps)
        tl.store(rstd + row, r)
        out = e * r * weight
        if LN:
            out += bias
        tl.store(y + row * H + j, out.to(y.dtype.element_ty), mask=ok)


@triton.jit
def _norm_back_all(dy, x, w, mean, rstd, dx, dw, db, M, H, sdm, sdh, sxm, sxh, sw, su, sr,
                   LN: tl.constexpr, BLOCK: tl.constexpr):
    j = tl.arange(0, BLOCK).to(tl.int64)
    ok = j < H
    weight = tl.load(w + j * sw, mask=ok, other=0.0).to(tl.float32)
    acc_w = tl.zeros([BLOCK], tl.float32)
    acc_b = tl.zeros([BLOCK], tl.float32)
    for row in range(tl.program_id(0).to(tl.int64), M, tl.num_programs(0)):
        e = tl.load(x + row * sxm + j * sxh, mask=ok, other=0.0).to(tl.float32)
        d = tl.load(dy + row * sdm + j * sdh, mask=ok, other=0.0).to(tl.float32)
        if LN:
            e = tl.where(ok, e - tl.load(mean + row * su), 0.0)
        r = tl.load(rstd + row * sr)
        xhat = e * r
        g = d * weight
        rest = g - xhat * (tl.sum(g * xhat, 0) / H)
        if LN:
            rest -= tl.sum(g, 0) / H
        tl.store(dx + row * H + j, (rest * r).to(dx.dtype.element_ty), mask=ok)
        acc_w += d * xhat
        acc_b += d
    tl.atomic_add(dw + j, acc_w, mask=ok)
    tl.atomic_add(db + j, acc_b, mask=ok)


def _norm(x, w, b, eps, center):
    M, H = x.shape
    y, mean, rstd = _new(x), _new(x, (M,), torch.float32), _new(x, (M,), torch.float32)
    if M:
        _norm_all[(min(M, PROGRAMS),)](
            x, w, b, y, mean, rstd, M, H, *x.stride(), w.stride(0), b.stride(0), float(eps),
            LN=center, BLOCK=triton.next_power_of_2(H),
        )
    return y, mean, rstd


def _norm_backward(dy, x, w, mean, rstd, center):
    M, H = x.shape
    dx, dw, db = _new(x), _zeros(w, (H,), torch.float32), _zeros(w, (H,), torch.float32)
    if M:
        _norm_back_all[(min(M, PROGRAMS),)](
            dy, x, w, mean, rstd, dx, dw, db, M, H, *dy.stride(), *x.stride(), w.stride(0),
            mean.stride(0), rstd.stride(0), LN=center, BLOCK=triton.next_power_of_2(H),
        )
    return dx, dw.to(w.dtype), db.to(w.dtype)


def rmsnorm(x_MH: Tensor, w_H: Tensor, *, eps: float = 1e-6) -> tuple[Tensor, Tensor]:
    _check_norm(x_MH, eps, w_H)
    return _norm(x_MH, w_H, w_H, eps, False)[::2]


def rmsnorm_backward(
    dy_MH: Tensor, x_MH: Tensor, w_H: Tensor, rstd_M: Tensor
) -> tuple[Tensor, Tensor]:
    _check_norm_backward(dy_MH, x_MH, w_H, rstd_M)
    return _norm_backward(dy_MH, x_MH, w_H, rstd_M, rstd_M, False)[:2]


def layernorm(
    x_MH: Tensor, w_H: Tensor, b_H: Tensor, *, eps: float = 1e-5
) -> tuple[Tensor, Tensor, Tensor]:
    _check_norm(x_MH, eps, w_H, b_H)
    return _norm(x_MH, w_H, b_H, eps, True)


def layernorm_backward(
    dy_MH: Tensor, x_MH: Tensor, *, w_H: Tensor, mean_M: Tensor, rstd_M: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    _check_norm_backward(dy_MH, x_MH, w_H, mean_M, rstd_M)
    return _norm_backward(dy_MH, x_MH, w_H, mean_M, rstd_M, True)


@triton.jit
def _ce_all(x, target, dx, sums, M, V, sm, sv, st, ignore, GRADIENT: tl.constexpr, BLOCK: tl.constexpr):
    # sums: [loss, kept]. The first launch adds both, the second one writes the gradient.
    lane = tl.arange(0, BLOCK).to(tl.int64)
    for row in range(tl.program_id(0).to(tl.int64), M, tl.num_programs(0)):
        t = tl.load(target + row * st).to(tl.int64)
        if t != ignore:
            base, total = _row_softmax_stats(x + row * sm, V, sv, BLOCK)
            if GRADIENT:
                share = 1.0 / tl.load(sums + 1)
                for start in range(0, V, BLOCK):
                    j = start + lane
                    e = tl.load(x + row * sm + j * sv, mask=j < V, other=-float("inf")).to(tl.float32)
                    d = (tl.exp(e - base) / total - tl.where(j == t, 1.0, 0.0)) * share
                    tl.store(dx + row * V + j, d.to(dx.dtype.element_ty), mask=j < V)
            else:
                hit = tl.load(x + row * sm + t * sv).to(tl.float32)
                tl.atomic_add(sums, (base - hit) + tl.log(total))
                tl.atomic_add(sums + 1, 1.0)


@triton.jit
def _ratio(sums, loss):
    tl.store(loss, tl.load(sums) / tl.load(sums + 1))


def cross_entropy(
    x_MV: Tensor, target_M: Tensor, *, ignore_index: int = -100
) -> tuple[Tensor, Tensor]:
    _check_cross_entropy(x_MV, target_M)
    M, V = x_MV.shape
    # Rows that are ignored keep the zeros they are born with.
    dx, sums, loss = _zeros(x_MV, (M, V)), _zeros(x_MV, (2,), torch.float32), _new(x_MV, (), torch.float32)
    args = (x_MV, target_M, dx, sums, M, V, *x_MV.stride(), target_M.stride(0), _ignored(ignore_index))
    for gradient in (False, True):
        _ce_all[(min(M, PROGRAMS),)](*args, GRADIENT=gradient, BLOCK=2048)
    _ratio[(1,)](sums, loss)
    return loss, dx


@triton.jit
def _activate(x, ACT: tl.constexpr):
    if ACT == "gelu":
        x = x * 0.5 * (1.0 + tl.erf(x * 0.7071067811865476))
    if ACT == "gelu_tanh":
        x = x * tl.sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x))
    return x


@triton.jit
def _matmul_all(
    a, b, bias, c, M, N, K, sam, sak, sbk, sbn, sbias, BIAS: tl.constexpr, ACT: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):
    down = tl.cdiv(M, BM)
    for tile in range(tl.program_id(0), down * tl.cdiv(N, BN), tl.num_programs(0)):
        i = (tile % down * BM + tl.arange(0, BM)).to(tl.int64)
        j = (tile // down * BN + tl.arange(0, BN)).to(tl.int64)
        # The accumulator starts with the bias.
        acc = tl.zeros([BM, BN], tl.float32)
        if BIAS:
            acc += tl.load(bias + j * sbias, mask=j < N, other=0.0).to(tl.float32)[None, :]
        for start in range(0, K, BK):
            k = (start + tl.arange(0, BK)).to(tl.int64)
            e = tl.load(a + i[:, None] * sam + k[None, :] * sak,
                        mask=(i < M)[:, None] & (k < K)[None, :], other=0.0)
            f = tl.load(b + k[:, None] * sbk + j[None, :] * sbn,
                        mask=(k < K)[:, None] & (j < N)[None, :], other=0.0)
            acc = tl.dot(e, f, acc, input_precision="ieee")
        ok = (i < M)[:, None] & (j < N)[None, :]
        tl.store(c + i[:, None] * N + j[None, :], _activate(acc, ACT).to(c.dtype.element_ty), mask=ok)


def matmul(
    a_MK: Tensor, b_KN: Tensor, bias_N: Tensor | None = None, *, activation: str = "none"
) -> Tensor:
    _check_matmul(a_MK, b_KN, bias_N, activation)
    (M, K), N = a_MK.shape, b_KN.shape[1]
    c = _new(a_MK, (M, N))
    if M and N:
        bias = a_MK if bias_N is None else bias_N
        tiles = triton.cdiv(M, 64) * triton.cdiv(N, 32)
        _matmul_all[(min(PROGRAMS, tiles),)](
            a_MK, b_KN, bias, c, M, N, K, *a_MK.stride(), *b_KN.stride(), bias.stride(0),
            BIAS=bias_N is not None, ACT=activation, BM=64, BN=32, BK=64,
        )
    return c


@triton.jit
def _piece(base, i, j, I, J, si, sj):
    at = base + i.to(tl.int64)[:, None] * si + j.to(tl.int64)[None, :] * sj
    return tl.load(at, mask=(i < I)[:, None] & (j < J)[None, :], other=0.0)


@triton.jit
def _attention_all(
    q, k, v, out, lse, sqb, sqh, sqt, sqd, skb, skg, sks, skd, svb, svg, svs, svd,
    B, H, G, T, S, D, scale, CAUSAL: tl.constexpr, BT: tl.constexpr, BS: tl.constexpr, BD: tl.constexpr,
):
    tiles = tl.cdiv(T, BT)
    d = tl.arange(0, BD)
    for work in range(tl.program_id(0).to(tl.int64), B * H * tiles, tl.num_programs(0)):
        bh = work // tiles
        b = bh // H
        h = bh % H
        g = h // (H // G)
        # The longest rows of a causal mask come first.
        first = (tiles - 1 - work % tiles) * BT
        t = first + tl.arange(0, BT)
        qt = _piece(q + b * sqb + h * sqh, t, d, T, D, sqt, sqd)
        m = tl.full([BT], -float("inf"), tl.float32)
        l = tl.zeros([BT], tl.float32)
        o = tl.zeros([BT, BD], tl.float32)
        end = S
        if CAUSAL:
            end = tl.minimum(S, first + BT + S - T)
        for start in range(0, end, BS):
            s = start + tl.arange(0, BS)
            kt = _piece(k + b * skb + g * skg, s, d, S, D, sks, skd)
            vt = _piece(v + b * svb + g * svg, s, d, S, D, svs, svd)
            see = (s < S)[None, :]
            if CAUSAL:
                see = see & (s[None, :] - t[:, None] <= S - T)
            z = tl.where(see, tl.dot(qt, tl.trans(kt), input_precision="ieee") * scale, -float("inf"))
            top = tl.maximum(m, tl.max(z, 1))
            base = tl.where(top == -float("inf"), 0.0, top)
            p = tl.exp(z - base[:, None])
            fade = tl.exp(m - base)
            l = l * fade + tl.sum(p, 1)
            o = o * fade[:, None] + tl.dot(p.to(vt.dtype), vt, input_precision="ieee")
            m = top
        o = o / tl.where(l == 0.0, 1.0, l)[:, None]
        at = out + (bh * T + t)[:, None] * D + d[None, :]
        tl.store(at, o.to(out.dtype.element_ty), mask=(t < T)[:, None] & (d < D)[None, :])
        tl.store(lse + bh * T + t, m + tl.log(tl.where(l == 0.0, 1.0, l)), mask=t < T)


def flash_attention(
    q_BHTD: Tensor, k_BGSD: Tensor, v_BGSD: Tensor, *,
    scale: float | None = None, causal: bool = False,
) -> tuple[Tensor, Tensor]:
    _check_attention(q_BHTD, k_BGSD, v_BGSD)
    B, H, T, D = q_BHTD.shape
    G, S = k_BGSD.shape[1:3]
    out, lse = _new(q_BHTD), _new(q_BHTD, (B, H, T), torch.float32)
    if B and H:
        _attention_all[(min(PROGRAMS, B * H * triton.cdiv(T, 16)),)](
            q_BHTD, k_BGSD, v_BGSD, out, lse, *q_BHTD.stride(), *k_BGSD.stride(), *v_BGSD.stride(),
            B, H, G, T, S, D, _scale(scale, D), CAUSAL=bool(causal), BT=16, BS=64,
            BD=max(16, triton.next_power_of_2(D)),
        )
    return out, lse


@triton.jit
def _gradients_all(
    do, q, k, v, out, lse, dq, dk, dv, sob, soh, sot, sod, sqb, sqh, sqt, sqd, skb, skg, sks, skd,
    svb, svg, svs, svd, sub, suh, sut, sud, slb, slh, slt, B, H, G, T, S, D, scale,
    CAUSAL: tl.constexpr, BT: tl.constexpr, BS: tl.constexpr, BD: tl.constexpr,
):
    # A block of queries: dq in registers, shares of dk and dv by atomics.
    tiles = tl.cdiv(T, BT)
    d = tl.arange(0, BD)
    for work in range(tl.program_id(0).to(tl.int64), B * H * tiles, tl.num_programs(0)):
        bh = work // tiles
        b = bh // H
        h = bh % H
        g = h // (H // G)
        first = work % tiles * BT
        t = first + tl.arange(0, BT)
        l = tl.load(lse + b * slb + h * slh + t * slt, mask=t < T, other=-float("inf"))
        live = l > -float("inf")
        # What saw nothing is read as 0.
        ok = live[:, None] & (d < D)[None, :]
        qt = tl.load(q + b * sqb + h * sqh + t[:, None] * sqt + d.to(tl.int64)[None, :] * sqd, mask=ok, other=0.0)
        x = tl.load(do + b * sob + h * soh + t[:, None] * sot + d.to(tl.int64)[None, :] * sod, mask=ok, other=0.0)
        y = tl.load(out + b * sub + h * suh + t[:, None] * sut + d.to(tl.int64)[None, :] * sud, mask=ok, other=0.0)
        delta = tl.sum(x.to(tl.float32) * y.to(tl.float32), 1)
        acc = tl.zeros([BT, BD], tl.float32)
        end = S
        if CAUSAL:
            end = tl.minimum(S, first + BT + S - T)
        for start in range(0, end, BS):
            s = start + tl.arange(0, BS)
            kt = _piece(k + b * skb + g * skg, s, d, S, D, sks, skd)
            vt = _piece(v + b * svb + g * svg, s, d, S, D, svs, svd)
            see = live[:, None] & (s < S)[None, :]
            if CAUSAL:
                see = see & (s[None, :] - t[:, None] <= S - T)
            z = tl.dot(qt, tl.trans(kt), input_precision="ieee") * scale
            p = tl.exp(tl.where(see, z - tl.where(live, l, 0.0)[:, None], -float("inf")))
            ds = p * (tl.dot(x, tl.trans(vt), input_precision="ieee") - delta[:, None])
            acc += tl.dot(ds.to(kt.dtype), kt, input_precision="ieee")
            at = ((b * G + g) * S + s)[:, None] * D + d[None, :]
            inside = (s < S)[:, None] & (d < D)[None, :]
            part = tl.dot(tl.trans(ds).to(qt.dtype), qt, input_precision="ieee") * scale
            tl.atomic_add(dk + at, part, mask=inside)
            part = tl.dot(tl.trans(p).to(x.dtype), x, input_precision="ieee")
            tl.atomic_add(dv + at, part, mask=inside)
        at = dq + (bh * T + t)[:, None] * D + d[None, :]
        tl.store(at, (acc * scale).to(dq.dtype.element_ty), mask=(t < T)[:, None] & (d < D)[None, :])


def flash_attention_backward(
    do_BHTD: Tensor, qkv: tuple[Tensor, Tensor, Tensor], forward: tuple[Tensor, Tensor], *,
    scale: float | None = None, causal: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    inputs = (do_BHTD, *qkv, *forward)
    _check_attention_backward(*inputs)
    q, k, v = qkv
    B, H, T, D = q.shape
    G, S = k.shape[1:3]
    dq = _new(q)
    dk, dv = _zeros(k, k.shape, torch.float32), _zeros(v, v.shape, torch.float32)
    if B and H:
        _gradients_all[(min(PROGRAMS, B * H * triton.cdiv(T, 32)),)](
            *inputs, dq, dk, dv, *(n for x in inputs for n in x.stride()), B, H, G, T, S, D,
            _scale(scale, D), CAUSAL=bool(causal), BT=32, BS=32,
            BD=max(16, triton.next_power_of_2(D)),
        )
    return dq, dk.to(k.dtype), dv.to(v.dtype)
