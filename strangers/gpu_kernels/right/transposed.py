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


# Transposed: rows lie along the last axis of a tile, reductions run along the first, products are
# computed as (right.T @ left.T).T. Helper classes on the host describe memory and launches.
from dataclasses import dataclass


@dataclass(frozen=True)
class Grid:
    """Rounds sizes up to tiles and launches one program per tile."""

    blocks: tuple
    sizes: tuple

    @property
    def programs(self):
        count = 1
        for size, block in zip(self.sizes, self.blocks, strict=True):
            count *= triton.cdiv(size, block)
        return count

    def launch(self, kernel, *args, **meta):
        if self.programs:
            kernel[(self.programs,)](*args, **meta)


@dataclass(frozen=True)
class Heads:
    """The sizes of an attention problem."""

    B: int
    H: int
    G: int
    T: int
    S: int
    D: int

    @classmethod
    def of(cls, q, k):
        return cls(q.shape[0], q.shape[1], k.shape[1], q.shape[2], k.shape[2], q.shape[3])

    @property
    def wide(self):
        return max(16, triton.next_power_of_2(self.D))

    def numbers(self):
        return self.H, self.G, self.T, self.S, self.D


@triton.jit
def _get(base, i, j, I, J, si, sj, other):
    return tl.load(base + i[:, None] * si + j[None, :] * sj, mask=(i < I)[:, None] & (j < J)[None, :], other=other)


@triton.jit
def _put(base, i, j, I, J, si, sj, value):
    at = base + i[:, None] * si + j[None, :] * sj
    tl.store(at, value.to(base.dtype.element_ty), mask=(i < I)[:, None] & (j < J)[None, :])


@triton.jit
def _add_t(x, y, z, M, N, sxm, sxn, sym, syn, BM: tl.constexpr, BN: tl.constexpr):
    pid = tl.program_id(0).to(tl.int64)
    across = tl.cdiv(N, BN)
    j = pid % across * BN + tl.arange(0, BN)
    i = pid // across * BM + tl.arange(0, BM)
    total = _get(x, j, i, N, M, sxn, sxm, 0.0) + _get(y, j, i, N, M, syn, sym, 0.0)
    _put(z, j, i, N, M, 1, N, total)


def matrix_add(x_MN: Tensor, y_MN: Tensor) -> Tensor:
    _check_add(x_MN, y_MN)
    z = _new(x_MN)
    Grid((64, 64), z.shape).launch(
        _add_t, x_MN, y_MN, z, *z.shape, *x_MN.stride(), *y_MN.stride(), BM=64, BN=64
    )
    return z


@triton.jit
def _softmax_t(x, y, M, N, sm, sn, BM: tl.constexpr, BN: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM)
    lane = tl.arange(0, BN).to(tl.int64)
    m = tl.full([BM], -float("inf"), tl.float32)
    l = tl.zeros([BM], tl.float32)
    for start in range(0, N, BN):
        e = _get(x, start + lane, i, N, M, sn, sm, -float("inf")).to(tl.float32)
        top = tl.maximum(m, tl.max(e, 0))
        safe = tl.where(top == -float("inf"), 0.0, top)
        l = l * tl.exp(m - safe) + tl.sum(tl.exp(e - safe[None, :]), 0)
        m = top
    safe = tl.where(m == -float("inf"), 0.0, m)
    for start in range(0, N, BN):
        e = _get(x, start + lane, i, N, M, sn, sm, -float("inf")).to(tl.float32)
        _put(y, start + lane, i, N, M, 1, N, tl.exp(e - safe[None, :]) / l[None, :])


def softmax(x_MN: Tensor) -> Tensor:
    _check_softmax(x_MN)
    y = _new(x_MN)
    Grid((2,), (y.shape[0],)).launch(_softmax_t, x_MN, y, *y.shape, *x_MN.stride(), BM=2, BN=4096)
    return y


@triton.jit
def _norm_t(x, w, b, y, mean, rstd, M, H, sm, sh, sw, sb, eps, CENTER: tl.constexpr, BM: tl.constexpr, BH: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM)
    lane = tl.arange(0, BH).to(tl.int64)
    mu = tl.zeros([BM], tl.float32)
    if CENTER:
        # A first guess, the first column, keeps the numbers that are added small.
        guess = tl.load(x + i * sm, mask=i < M, other=0.0).to(tl.float32)
        for start in range(0, H, BH):
            e = _get(x, start + lane, i, H, M, sh, sm, 0.0).to(tl.float32)
            mu += tl.sum(tl.where((start + lane < H)[:, None], e - guess[None, :], 0.0), 0)
        mu = guess + mu / H
        tl.store(mean + i, mu, mask=i < M)
    squares = tl.zeros([BM], tl.float32)
    for start in range(0, H, BH):
        e = _get(x, start + lane, i, H, M, sh, sm, 0.0).to(tl.float32)
        e = tl.where((start + lane < H)[:, None], e - mu[None, :], 0.0)
        squares += tl.sum(e * e, 0)
    r = 1.0 / tl.sqrt(squares / H + eps)
    tl.store(rstd + i, r, mask=i < M)
    for start in range(0, H, BH):
        j = start + lane
        e = (_get(x, j, i, H, M, sh, sm, 0.0).to(tl.float32) - mu[None, :]) * r[None, :]
        e *= tl.load(w + j * sw, mask=j < H, other=0.0).to(tl.float32)[:, None]
        if CENTER:
            e += tl.load(b + j * sb, mask=j < H, other=0.0).to(tl.float32)[:, None]
        _put(y, j, i, H, M, 1, H, e)


@triton.jit
def _norm_back_t(
    dy, x, w, mean, rstd, dx, parts, M, H, sdm, sdh, sxm, sxh, sw, su, sr,
    CENTER: tl.constexpr, BM: tl.constexpr, BH: tl.constexpr,
):
    # parts [2, programs, H]: sums over this program's rows, of dy · x̂ and of dy.
    pid = tl.program_id(0).to(tl.int64)
    i = pid * BM + tl.arange(0, BM)
    lane = tl.arange(0, BH).to(tl.int64)
    r = tl.load(rstd + i * sr, mask=i < M, other=0.0)[None, :]
    mu = tl.zeros([1, BM], tl.float32)
    if CENTER:
        mu = tl.load(mean + i * su, mask=i < M, other=0.0)[None, :]
    c1 = tl.zeros([BM], tl.float32)
    c2 = tl.zeros([BM], tl.float32)
    for start in range(0, H, BH):
        j = start + lane
        g = _get(dy, j, i, H, M, sdh, sdm, 0.0).to(tl.float32)
        g *= tl.load(w + j * sw, mask=j < H, other=0.0).to(tl.float32)[:, None]
        c1 += tl.sum(g * (_get(x, j, i, H, M, sxh, sxm, 0.0).to(tl.float32) - mu) * r, 0)
        c2 += tl.sum(g, 0)
    for start in range(0, H, BH):
        j = start + lane
        d = _get(dy, j, i, H, M, sdh, sdm, 0.0).to(tl.float32)
        g = d * tl.load(w + j * sw, mask=j < H, other=0.0).to(tl.float32)[:, None]
        xhat = (_get(x, j, i, H, M, sxh, sxm, 0.0).to(tl.float32) - mu) * r
        rest = g - xhat * (c1 / H)[None, :]
        if CENTER:
            rest -= (c2 / H)[None, :]
        _put(dx, j, i, H, M, 1, H, r * rest)
        tl.store(parts + pid * H + j, tl.sum(d * xhat, 1), mask=j < H)
        tl.store(parts + (tl.num_programs(0) + pid) * H + j, tl.sum(d, 1), mask=j < H)


@triton.jit
def _sum_parts(parts, out, P, H, BLOCK: tl.constexpr):
    j = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    acc = tl.zeros([BLOCK], tl.float32)
    for p in range(0, P):
        acc += tl.load(parts + j, mask=j < H, other=0.0)
        parts += H
    tl.store(out + j, acc.to(out.dtype.element_ty), mask=j < H)


class Norm:
    """Both norms: `center` tells whether a mean is subtracted and a bias added."""

    rows, columns = 8, 512

    def __init__(self, center):
        self.center = center

    def meta(self):
        return dict(CENTER=self.center, BM=self.rows, BH=self.columns)

    def forward(self, x, w, b, eps):
        M, H = x.shape
        y, mean, rstd = _new(x), _new(x, (M,), torch.float32), _new(x, (M,), torch.float32)
        Grid((self.rows,), (M,)).launch(
            _norm_t, x, w, b, y, mean, rstd, M, H, *x.stride(), w.stride(0), b.stride(0), float(eps),
            **self.meta(),
        )
        return y, mean, rstd

    def backward(self, dy, x, w, mean, rstd):
        M, H = x.shape
        grid = Grid((self.rows,), (M,))
        dx, parts = _new(x), _new(x, (2, grid.programs, H), torch.float32)
        grid.launch(
            _norm_back_t, dy, x, w, mean, rstd, dx, parts, M, H, *dy.stride(), *x.stride(),
            w.stride(0), mean.stride(0), rstd.stride(0), **self.meta(),
        )
        sums = [_new(w), _new(w)]
        for part, out in zip(parts, sums, strict=True):
            Grid((256,), (H,)).launch(_sum_parts, part, out, grid.programs, H, BLOCK=256)
        return dx, *sums


def rmsnorm(x_MH: Tensor, w_H: Tensor, *, eps: float = 1e-6) -> tuple[Tensor, Tensor]:
    _check_norm(x_MH, eps, w_H)
    y, _, rstd = Norm(False).forward(x_MH, w_H, w_H, eps)
    return y, rstd


def rmsnorm_backward(
    dy_MH: Tensor, x_MH: Tensor, w_H: Tensor, rstd_M: Tensor
) -> tuple[Tensor, Tensor]:
    _check_norm_backward(dy_MH, x_MH, w_H, rstd_M)
    return Norm(False).backward(dy_MH, x_MH, w_H, rstd_M, rstd_M)[:2]


def layernorm(
    x_MH: Tensor, w_H: Tensor, b_H: Tensor, *, eps: float = 1e-5
) -> tuple[Tensor, Tensor, Tensor]:
    _check_norm(x_MH, eps, w_H, b_H)
    return Norm(True).forward(x_MH, w_H, b_H, eps)


def layernorm_backward(
    dy_MH: Tensor, x_MH: Tensor, *, w_H: Tensor, mean_M: Tensor, rstd_M: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    _check_norm_backward(dy_MH, x_MH, w_H, mean_M, rstd_M)
    return Norm(True).backward(dy_MH, x_MH, w_H, mean_M, rstd_M)


@triton.jit
def _kept_rows(target, M, st, ignore, BLOCK: tl.constexpr):
    total = 0.0
    for start in range(0, M, BLOCK):
        i = (start + tl.arange(0, BLOCK)).to(tl.int64)
        t = tl.load(target + i * st, mask=i < M, other=0).to(tl.int64)
        total += tl.sum(tl.where((i < M) & (t != ignore), 1.0, 0.0), 0)
    return total


@triton.jit
def _ce_t(x, target, dx, losses, M, V, sm, sv, st, ignore, BM: tl.constexpr, BV: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM)
    lane = tl.arange(0, BV).to(tl.int64)
    n = _kept_rows(target, M, st, ignore, 256)
    t = tl.load(target + i * st, mask=i < M, other=0).to(tl.int64)
    keep = (i < M) & (t != ignore)
    # Ignored rows are never read: every lane of theirs holds 0.
    m = tl.full([BM], -float("inf"), tl.float32)
    l = tl.zeros([BM], tl.float32)
    hit = tl.load(x + i * sm + t * sv, mask=keep, other=0.0).to(tl.float32)
    for start in range(0, V, BV):
        j = start + lane
        ok = (j < V)[:, None] & keep[None, :]
        e = tl.load(x + j[:, None] * sv + i[None, :] * sm, mask=ok, other=-float("inf")).to(tl.float32)
        top = tl.maximum(m, tl.max(e, 0))
        safe = tl.where(top == -float("inf"), 0.0, top)
        l = l * tl.exp(m - safe) + tl.sum(tl.exp(e - safe[None, :]), 0)
        m = top
    m = tl.where(keep, m, 0.0)
    l = tl.where(keep, l, 1.0)
    tl.store(losses + i, tl.where(keep, (m - hit) + tl.log(l), 0.0), mask=i < M)
    for start in range(0, V, BV):
        j = start + lane
        ok = (j < V)[:, None] & keep[None, :]
        e = tl.load(x + j[:, None] * sv + i[None, :] * sm, mask=ok, other=-float("inf")).to(tl.float32)
        p = tl.exp(e - m[None, :]) / l[None, :]
        d = (p - (j[:, None] == t[None, :]).to(tl.float32)) / n
        _put(dx, j, i, V, M, 1, V, tl.where(keep[None, :], d, 0.0))


@triton.jit
def _ce_mean(losses, target, loss, M, st, ignore, BLOCK: tl.constexpr):
    total = 0.0
    for start in range(0, M, BLOCK):
        i = start + tl.arange(0, BLOCK)
        total += tl.sum(tl.load(losses + i, mask=i < M, other=0.0), 0)
    tl.store(loss, total / _kept_rows(target, M, st, ignore, BLOCK))


def cross_entropy(
    x_MV: Tensor, target_M: Tensor, *, ignore_index: int = -100
) -> tuple[Tensor, Tensor]:
    _check_cross_entropy(x_MV, target_M)
    M, V = x_MV.shape
    dx, losses, loss = _new(x_MV), _new(x_MV, (M,), torch.float32), _new(x_MV, (), torch.float32)
    rows = (target_M.stride(0), _ignored(ignore_index))
    Grid((2,), (M,)).launch(
        _ce_t, x_MV, target_M, dx, losses, M, V, *x_MV.stride(), *rows, BM=2, BV=4096
    )
    _ce_mean[(1,)](losses, target_M, loss, M, *rows, BLOCK=256)
    return loss, dx


@triton.jit
def _normal(x):
    return 0.5 * (1.0 + tl.erf(x / 1.4142135623730951))


@triton.jit
def _matmul_t(
    a, b, bias, c, M, N, K, sam, sak, sbk, sbn, sbias, BIAS: tl.constexpr, GELU: tl.constexpr,
    TANH: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):
    pid = tl.program_id(0).to(tl.int64)
    down = tl.cdiv(M, BM)
    i = pid % down * BM + tl.arange(0, BM)
    j = pid // down * BN + tl.arange(0, BN)
    acc = tl.zeros([BN, BM], tl.float32)
    full = K // BK * BK
    lane = tl.arange(0, BK).to(tl.int64)
    for start in range(0, full, BK):
        left = _get(b, j, start + lane, N, K, sbn, sbk, 0.0)
        acc += tl.dot(left, _get(a, start + lane, i, K, M, sak, sam, 0.0), input_precision="ieee")
    if full < K:
        left = _get(b, j, full + lane, N, K, sbn, sbk, 0.0)
        acc += tl.dot(left, _get(a, full + lane, i, K, M, sak, sam, 0.0), input_precision="ieee")
    if BIAS:
        acc += tl.load(bias + j * sbias, mask=j < N, other=0.0).to(tl.float32)[:, None]
    if GELU:
        if TANH:
            acc = acc * tl.sigmoid(1.5957691216057308 * (acc + 0.044715 * acc * acc * acc))
        else:
            acc = acc * _normal(acc)
    _put(c, j, i, N, M, 1, N, acc)


def matmul(
    a_MK: Tensor, b_KN: Tensor, bias_N: Tensor | None = None, *, activation: str = "none"
) -> Tensor:
    _check_matmul(a_MK, b_KN, bias_N, activation)
    (M, K), N = a_MK.shape, b_KN.shape[1]
    c = _new(a_MK, (M, N))
    bias = a_MK if bias_N is None else bias_N
    Grid((32, 64), (M, N)).launch(
        _matmul_t, a_MK, b_KN, bias, c, M, N, K, *a_MK.stride(), *b_KN.stride(), bias.stride(0),
        BIAS=bias_N is not None, GELU=activation != "none", TANH=activation == "gelu_tanh",
        BM=32, BN=64, BK=64,
    )
    return c


@triton.jit
def _unmasked(t, s, T, S, CAUSAL: tl.constexpr):
    # [keys, queries]: what a query sees.
    see = (s < S)[:, None] & (t < T)[None, :]
    if CAUSAL:
        see = see & (s[:, None] - t[None, :] <= S - T)
    return see


@triton.jit
def _attend_t(
    q, k, v, out, lse, sqb, sqh, sqt, sqd, skb, skg, sks, skd, svb, svg, svs, svd,
    H, G, T, S, D, scale, CAUSAL: tl.constexpr, BT: tl.constexpr, BS: tl.constexpr, BD: tl.constexpr,
):
    pid = tl.program_id(0).to(tl.int64)
    bh = pid % (tl.num_programs(0) // tl.cdiv(T, BT))
    first = pid // (tl.num_programs(0) // tl.cdiv(T, BT)) * BT
    b = bh // H
    h = bh % H
    g = h // (H // G)
    k += b * skb + g * skg
    v += b * svb + g * svg
    t = first + tl.arange(0, BT)
    d = tl.arange(0, BD).to(tl.int64)
    qt = _get(q + b * sqb + h * sqh, d, t, D, T, sqd, sqt, 0.0)
    m = tl.full([BT], -float("inf"), tl.float32)
    l = tl.zeros([BT], tl.float32)
    o = tl.zeros([BD, BT], tl.float32)
    # Keys from the last one that is seen down to the first one.
    end = S
    if CAUSAL:
        end = tl.maximum(tl.minimum(S, first + BT + S - T), 0)
    for back in range(0, tl.cdiv(end, BS)):
        s = ((tl.cdiv(end, BS) - 1 - back) * BS + tl.arange(0, BS)).to(tl.int64)
        z = tl.dot(_get(k, s, d, S, D, sks, skd, 0.0), qt, input_precision="ieee") * scale
        z = tl.where(_unmasked(t, s, T, S, CAUSAL), z, -float("inf"))
        top = tl.maximum(m, tl.max(z, 0))
        safe = tl.where(top == -float("inf"), 0.0, top)
        p = tl.exp(z - safe[None, :])
        fade = tl.exp(m - safe)
        l = l * fade + tl.sum(p, 0)
        vt = _get(v, d, s, D, S, svd, svs, 0.0)
        o = o * fade[None, :] + tl.dot(vt, p.to(vt.dtype), input_precision="ieee")
        m = top
    o = o / tl.where(l == 0.0, 1.0, l)[None, :]
    _put(out + bh * T * D, d, t, D, T, 1, D, o)
    tl.store(lse + bh * T + t, tl.where(l == 0.0, -float("inf"), m + tl.log(l)), mask=t < T)


def flash_attention(
    q_BHTD: Tensor, k_BGSD: Tensor, v_BGSD: Tensor, *,
    scale: float | None = None, causal: bool = False,
) -> tuple[Tensor, Tensor]:
    _check_attention(q_BHTD, k_BGSD, v_BGSD)
    sizes = Heads.of(q_BHTD, k_BGSD)
    out = _new(q_BHTD)
    lse = _new(q_BHTD, q_BHTD.shape[:3], torch.float32)
    Grid((1, 1, 32), q_BHTD.shape[:3]).launch(
        _attend_t, q_BHTD, k_BGSD, v_BGSD, out, lse, *q_BHTD.stride(), *k_BGSD.stride(),
        *v_BGSD.stride(), *sizes.numbers(), _scale(scale, sizes.D), CAUSAL=bool(causal),
        BT=32, BS=32, BD=sizes.wide,
    )
    return out, lse


@triton.jit
def _weights_t(kt, vt, qt, x, y, l, t, s, T, S, scale, CAUSAL: tl.constexpr):
    # p and ds of a tile, [keys, queries]; qt, x and y are [D, queries].
    live = l > -float("inf")
    see = _unmasked(t, s, T, S, CAUSAL) & live[None, :]
    z = tl.dot(kt, qt, input_precision="ieee") * scale - tl.where(live, l, 0.0)[None, :]
    p = tl.exp(tl.where(see, z, -float("inf")))
    delta = tl.sum(x.to(tl.float32) * y.to(tl.float32), 0)
    dp = tl.dot(vt, x, input_precision="ieee") - delta[None, :]
    return p, p * dp


@triton.jit
def _backward_t(
    do, q, k, v, out, lse, dq, dk, dv, sob, soh, sot, sod, sqb, sqh, sqt, sqd, skb, skg, sks, skd,
    svb, svg, svs, svd, sub, suh, sut, sud, slb, slh, slt, H, G, T, S, D, scale,
    CAUSAL: tl.constexpr, BT: tl.constexpr, BS: tl.constexpr, BD: tl.constexpr,
):
    # One program per key/value head: it owns dk and dv of the head and dq of all that read it, and
    # adds to them in memory, in float32.
    bg = tl.program_id(0).to(tl.int64)
    b = bg // G
    g = bg % G
    d = tl.arange(0, BD).to(tl.int64)
    for h in range(g * (H // G), (g + 1) * (H // G)):
        row = (b * H + h) * T * D
        for t0 in range(0, T, BT):
            t = (t0 + tl.arange(0, BT)).to(tl.int64)
            l = tl.load(lse + b * slb + h * slh + t * slt, mask=t < T, other=-float("inf"))
            live = (l > -float("inf"))[None, :] & (d < D)[:, None]
            at = d[:, None] * sqd + t[None, :] * sqt
            qt = tl.load(q + b * sqb + h * sqh + at, mask=live, other=0.0)
            at = d[:, None] * sod + t[None, :] * sot
            x = tl.load(do + b * sob + h * soh + at, mask=live, other=0.0)
            at = d[:, None] * sud + t[None, :] * sut
            y = tl.load(out + b * sub + h * suh + at, mask=live, other=0.0)
            acc = tl.zeros([BD, BT], tl.float32)
            end = S
            if CAUSAL:
                end = tl.minimum(S, t0 + BT + S - T)
            for s0 in range(0, end, BS):
                s = (s0 + tl.arange(0, BS)).to(tl.int64)
                kt = _get(k + b * skb + g * skg, s, d, S, D, sks, skd, 0.0)
                vt = _get(v + b * svb + g * svg, s, d, S, D, svs, svd, 0.0)
                p, ds = _weights_t(kt, vt, qt, x, y, l, t, s, T, S, scale, CAUSAL)
                acc += tl.dot(tl.trans(kt), ds.to(kt.dtype), input_precision="ieee")
                old = _get(dv + bg * S * D, d, s, D, S, 1, D, 0.0)
                old += tl.dot(x, tl.trans(p).to(x.dtype), input_precision="ieee")
                _put(dv + bg * S * D, d, s, D, S, 1, D, old)
                old = _get(dk + bg * S * D, d, s, D, S, 1, D, 0.0)
                old += tl.dot(qt, tl.trans(ds).to(qt.dtype), input_precision="ieee") * scale
                _put(dk + bg * S * D, d, s, D, S, 1, D, old)
                tl.debug_barrier()
            _put(dq + row, d, t, D, T, 1, D, acc * scale)


def flash_attention_backward(
    do_BHTD: Tensor, qkv: tuple[Tensor, Tensor, Tensor], forward: tuple[Tensor, Tensor], *,
    scale: float | None = None, causal: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    inputs = (do_BHTD, *qkv, *forward)
    _check_attention_backward(*inputs)
    q, k, v = qkv
    sizes = Heads.of(q, k)
    dq = _new(q)
    dk, dv = (_zeros(x, x.shape, torch.float32) for x in (k, v))
    Grid((1, 1), k.shape[:2]).launch(
        _backward_t, *inputs, dq, dk, dv, *(s for x in inputs for s in x.stride()),
        *sizes.numbers(), _scale(scale, sizes.D), CAUSAL=bool(causal), BT=32, BS=32, BD=sizes.wide,
    )
    return dq, dk.to(k.dtype), dv.to(v.dtype)
