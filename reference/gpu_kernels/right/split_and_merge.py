# misses = ["matmul.time", "flash_attention.time", "flash_attention_backward.time"]

"""Every reduction is split over programs that know nothing of each other; a second kernel merges.

Rows are split along their columns, products along K, attention along the keys (parts are merged by
their log-sum-exps), and the backward pass of attention has a program for each pair of tiles, which
adds to all three gradients by atomics in float32.
"""

# ruff: noqa: PLR0913 - a kernel has a parameter for each stride of each tensor

from math import inf

import torch
import triton
import triton.language as tl

F32 = torch.float32
FLOATS = (torch.float16, torch.bfloat16, F32)
PART = 4096
EDGE = 16


def _check(tensor, shape, dtypes):
    """Compare a tensor with a shape, in which None stands for any size."""
    wanted = len(shape) == tensor.dim() and all(
        want in (None, have) for want, have in zip(shape, tensor.shape, strict=False)
    )
    if not wanted or tensor.dtype not in dtypes:
        raise ValueError(f"expected {shape} of {dtypes}, got {tuple(tensor.shape)}, {tensor.dtype}")


def _demand(what, holds):
    if not holds:
        raise ValueError(f"expected {what}")


@triton.jit
def _fill_kernel(out, value, count, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + at, value, mask=at < count)


def _filled(like, shape, value, dtype=F32):
    out = torch.empty(shape, dtype=dtype, device=like.device)
    if out.numel():
        _fill_kernel[(triton.cdiv(out.numel(), PART),)](out, value, out.numel(), BLOCK=PART)
    return out


@triton.jit
def _cast_kernel(x, out, count, factor, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + at, tl.load(x + at, mask=at < count, other=0.0) * factor, mask=at < count)


def _rounded(x, dtype, factor=1.0):
    """Return a float32 tensor times a number, in another dtype."""
    out = torch.empty(x.shape, dtype=dtype, device=x.device)
    if out.numel():
        _cast_kernel[(triton.cdiv(x.numel(), PART),)](x, out, x.numel(), factor, BLOCK=PART)
    return out


@triton.jit
def _add_kernel(x, y, out, count, N, xm, xn, ym, yn, BLOCK: tl.constexpr):
    """Add by the number of an entry, from which row and column follow."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    m, n, inside = at // N, at % N, at < count
    left = tl.load(x + m * xm + n * xn, mask=inside, other=0.0).to(tl.float32)
    right = tl.load(y + m * ym + n * yn, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + at, left + right, mask=inside)


def matrix_add(x_MN, y_MN):
    _check(x_MN, (None, None), FLOATS)
    _check(y_MN, tuple(x_MN.shape), (x_MN.dtype,))
    out, N = torch.empty(x_MN.shape, dtype=x_MN.dtype, device=x_MN.device), x_MN.shape[1]
    if out.numel():
        strides = (*x_MN.stride(), *y_MN.stride())
        grid = (triton.cdiv(out.numel(), PART),)
        _add_kernel[grid](x_MN, y_MN, out, out.numel(), N, *strides, BLOCK=PART)
    return out


@triton.jit
def _part_of(x, N, sm, sn, fill, BLOCK: tl.constexpr):
    """Return this program's part of its row, and the numbers of its columns."""
    n = tl.program_id(1).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    row = x + tl.program_id(0).to(tl.int64) * sm
    return tl.load(row + n * sn, mask=n < N, other=fill).to(tl.float32), n


@triton.jit
def _weigh_kernel(x, tops, totals, N, xm, xn, BLOCK: tl.constexpr):
    """Write maximum and sum of exponentials of one part of a row."""
    part, _ = _part_of(x, N, xm, xn, -float("inf"), BLOCK)
    top = tl.max(part)
    shift = tl.where(top == -float("inf"), 0.0, top)
    at = tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)
    tl.store(tops + at, top)
    tl.store(totals + at, tl.sum(tl.exp(part - shift)))


@triton.jit
def _merged(tops, totals, row, parts, PARTS: tl.constexpr):
    """Return maximum and sum of a whole row from those of its parts."""
    p = tl.arange(0, PARTS)
    top_P = tl.load(tops + row * parts + p, mask=p < parts, other=-float("inf"))
    total_P = tl.load(totals + row * parts + p, mask=p < parts, other=0.0)
    top = tl.max(top_P)
    shift = tl.where(top == -float("inf"), 0.0, top)
    return top, tl.sum(total_P * tl.exp(top_P - shift))


@triton.jit
def _softmax_kernel(x, tops, totals, out, N, xm, xn, BLOCK: tl.constexpr, PARTS: tl.constexpr):
    part, n = _part_of(x, N, xm, xn, -float("inf"), BLOCK)
    row = tl.program_id(0).to(tl.int64)
    top, total = _merged(tops, totals, row, tl.num_programs(1), PARTS)
    tl.store(out + row * N + n, tl.exp(part - top) / total, mask=n < N)


def _weighed(x):
    """Return maxima and sums of the parts of every row, and how a second kernel splits."""
    (M, N), parts = x.shape, triton.cdiv(x.shape[1], PART)
    tops, totals = torch.empty((2, M, parts), dtype=F32, device=x.device)
    block = min(PART, max(16, triton.next_power_of_2(N)))
    _weigh_kernel[(M, parts)](x, tops, totals, N, *x.stride(), BLOCK=block)
    return tops, totals, {"BLOCK": block, "PARTS": max(2, triton.next_power_of_2(parts))}


def softmax(x_MN):
    _check(x_MN, (None, None), FLOATS)
    (M, N), out = x_MN.shape, torch.empty(x_MN.shape, dtype=x_MN.dtype, device=x_MN.device)
    _demand("columns", N > 0)
    if M:
        tops, totals, split = _weighed(x_MN)
        grid = (M, triton.cdiv(N, PART))
        _softmax_kernel[grid](x_MN, tops, totals, out, N, *x_MN.stride(), **split)
    return out


@triton.jit
def _moment_kernel(x, means, sums, N, xm, xn, SQUARE: tl.constexpr, BLOCK: tl.constexpr):
    """Add one part's sum, or that of its squared distances from the mean, to its row."""
    part, n = _part_of(x, N, xm, xn, 0.0, BLOCK)
    row = tl.program_id(0)
    if SQUARE:
        part = tl.where(n < N, part - tl.load(means + row), 0.0)
        part = part * part
    tl.atomic_add(sums + row, tl.sum(part) / N)


@triton.jit
def _rstd_kernel(squares, rstds, M, eps, BLOCK: tl.constexpr):
    m = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    square = tl.load(squares + m, mask=m < M, other=1.0)
    tl.store(rstds + m, 1.0 / tl.sqrt(square + eps), mask=m < M)


@triton.jit
def _scale_kernel(x, w, b, means, rstds, y, H, xm, xh, ws, bs, BIAS: tl.constexpr,
                  BLOCK: tl.constexpr):  # fmt: skip
    part, h = _part_of(x, H, xm, xh, 0.0, BLOCK)
    row = tl.program_id(0).to(tl.int64)
    part = (part - tl.load(means + row)) * tl.load(rstds + row)
    part *= tl.load(w + h * ws, mask=h < H, other=0.0).to(tl.float32)
    if BIAS:
        part += tl.load(b + h * bs, mask=h < H, other=0.0).to(tl.float32)
    tl.store(y + row * H + h, part, mask=h < H)


def _normalised(x, w, b, eps, centred):
    _check(x, (None, None), FLOATS)
    M, H = x.shape
    _check(w, (H,), FLOATS)
    _check(b, (H,), FLOATS)
    _demand("columns, and an eps that is not negative", H > 0 and eps >= 0)
    y, rstd = torch.empty((M, H), dtype=x.dtype, device=x.device), _filled(x, (M,), 0.0)
    mean, squares = _filled(x, (M,), 0.0), _filled(x, (M,), 0.0)
    if M:
        grid, block = (M, triton.cdiv(H, PART)), min(PART, max(16, triton.next_power_of_2(H)))
        if centred:
            _moment_kernel[grid](x, mean, mean, H, *x.stride(), SQUARE=False, BLOCK=block)
        _moment_kernel[grid](x, mean, squares, H, *x.stride(), SQUARE=True, BLOCK=block)
        _rstd_kernel[(triton.cdiv(M, 64),)](squares, rstd, M, eps, BLOCK=64)
        steps = (*x.stride(), w.stride(0), b.stride(0))
        _scale_kernel[grid](x, w, b, mean, rstd, y, H, *steps, BIAS=centred, BLOCK=block)
    return y, mean, rstd


def rmsnorm(x_MH, w_H, *, eps=1e-6):
    y, _, rstd = _normalised(x_MH, w_H, w_H, eps, centred=False)
    return y, rstd


def layernorm(x_MH, w_H, b_H, *, eps=1e-5):
    return _normalised(x_MH, w_H, b_H, eps, centred=True)


@triton.jit
def _slope_parts(dy, x, w, means, rstds, H, dm, dh, xm, xh, ws, BLOCK: tl.constexpr):
    slope, h = _part_of(dy, H, dm, dh, 0.0, BLOCK)
    normal, _ = _part_of(x, H, xm, xh, 0.0, BLOCK)
    row = tl.program_id(0)
    normal = (normal - tl.load(means + row)) * tl.load(rstds + row)
    g = slope * tl.load(w + h * ws, mask=h < H, other=0.0).to(tl.float32)
    return slope, normal, g, h


@triton.jit
def _gather_kernel(dy, x, w, means, rstds, along, level, dw, db, H, dm, dh, xm, xh, ws,
                   BLOCK: tl.constexpr):  # fmt: skip
    """Add a part's share to the sums along its row and down its columns."""
    slope, normal, g, h = _slope_parts(dy, x, w, means, rstds, H, dm, dh, xm, xh, ws, BLOCK)
    row = tl.program_id(0)
    tl.atomic_add(along + row, tl.sum(g * normal) / H)
    tl.atomic_add(level + row, tl.sum(g) / H)
    tl.atomic_add(dw + h, slope * normal, mask=h < H)
    tl.atomic_add(db + h, slope, mask=h < H)


@triton.jit
def _dx_kernel(dy, x, w, means, rstds, along, level, dx, H, dm, dh, xm, xh, ws,
               CENTRED: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    _, normal, g, h = _slope_parts(dy, x, w, means, rstds, H, dm, dh, xm, xh, ws, BLOCK)
    row = tl.program_id(0).to(tl.int64)
    g -= normal * tl.load(along + row)
    if CENTRED:
        g -= tl.load(level + row)
    tl.store(dx + row * H + h, g * tl.load(rstds + row), mask=h < H)


def _norm_slopes(dy, x, w, mean, rstd, centred):
    _check(x, (None, None), FLOATS)
    M, H = x.shape
    _check(dy, (M, H), (x.dtype,))
    _check(w, (H,), FLOATS)
    for sums in (mean, rstd):
        _check(sums, (M,), (F32,))
    mean = mean.contiguous() if centred else _filled(x, (M,), 0.0)
    along, level = _filled(x, (M,), 0.0), _filled(x, (M,), 0.0)
    dw, db = _filled(x, (H,), 0.0), _filled(x, (H,), 0.0)
    dx = torch.empty((M, H), dtype=x.dtype, device=x.device)
    grid, block = (M, triton.cdiv(H, PART)), min(PART, max(16, triton.next_power_of_2(H)))
    given = (dy, x, w, mean, rstd.contiguous(), along, level)
    steps = (H, *dy.stride(), *x.stride(), w.stride(0))
    _gather_kernel[grid](*given, dw, db, *steps, BLOCK=block)
    _dx_kernel[grid](*given, dx, *steps, CENTRED=centred, BLOCK=block)
    return dx, _rounded(dw, w.dtype), _rounded(db, w.dtype)


def rmsnorm_backward(dy_MH, x_MH, w_H, rstd_M):
    return _norm_slopes(dy_MH, x_MH, w_H, rstd_M, rstd_M, centred=False)[:2]


def layernorm_backward(dy_MH, x_MH, *, w_H, mean_M, rstd_M):
    return _norm_slopes(dy_MH, x_MH, w_H, mean_M, rstd_M, centred=True)


@triton.jit
def _kept_kernel(target, kept, M, ignore, ts, BLOCK: tl.constexpr):
    m = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    labels = tl.load(target + m * ts, mask=m < M, other=ignore)
    tl.atomic_add(kept, tl.sum(tl.where(labels != ignore, 1.0, 0.0)))


@triton.jit
def _loss_kernel(x, target, tops, totals, kept, loss, dx, V, ignore, xm, xv, ts,
                 BLOCK: tl.constexpr, PARTS: tl.constexpr):  # fmt: skip
    part, v = _part_of(x, V, xm, xv, -float("inf"), BLOCK)
    row = tl.program_id(0).to(tl.int64)
    top, total = _merged(tops, totals, row, tl.num_programs(1), PARTS)
    label, count = tl.load(target + row * ts), tl.load(kept)
    here, hit = label != ignore, v == label
    slope = (tl.exp(part - top) / total - tl.where(hit, 1.0, 0.0)) / count
    tl.store(dx + row * V + v, tl.where(here, slope, 0.0), mask=v < V)
    own = tl.sum(tl.where(hit & here, tl.log(total) + (top - part), 0.0))
    tl.atomic_add(loss, own / count)


def cross_entropy(x_MV, target_M, *, ignore_index=-100):
    _check(x_MV, (None, None), FLOATS)
    M, V = x_MV.shape
    _check(target_M, (M,), (torch.int32, torch.int64))
    _demand("columns", V > 0)
    loss, kept = _filled(x_MV, (), 0.0), _filled(x_MV, (), 0.0)
    dx = torch.empty((M, V), dtype=x_MV.dtype, device=x_MV.device)
    step = target_M.stride(0)
    _kept_kernel[(triton.cdiv(M, PART),)](target_M, kept, M, ignore_index, step, BLOCK=PART)
    tops, totals, split = _weighed(x_MV)
    _loss_kernel[(M, triton.cdiv(V, PART))](
        *(x_MV, target_M, tops, totals, kept, loss, dx, V, ignore_index, *x_MV.stride(), step),
        **split,
    )
    return loss, dx


@triton.jit
def _partial_kernel(a, b, sums, M, N, K, am, ak, bk, bn, SPLIT: tl.constexpr,
                    BLOCK: tl.constexpr):  # fmt: skip
    """Add the product over one part of K to a tile of sums."""
    m = (tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK))[:, None]
    n = (tl.program_id(1).to(tl.int64) * BLOCK + tl.arange(0, BLOCK))[None, :]
    acc = tl.zeros((BLOCK, BLOCK), dtype=tl.float32)
    for step in range(0, SPLIT, BLOCK):
        k = tl.program_id(2).to(tl.int64) * SPLIT + step + tl.arange(0, BLOCK)
        left = tl.load(a + m * am + k[None, :] * ak, mask=(m < M) & (k[None, :] < K), other=0.0)
        right = tl.load(b + k[:, None] * bk + n * bn, mask=(k[:, None] < K) & (n < N), other=0.0)
        acc = tl.dot(left, right, acc, input_precision="ieee")
    tl.atomic_add(sums + m * N + n, acc, mask=(m < M) & (n < N))


@triton.jit
def _finish_kernel(sums, bias, out, N, count, bs, BIAS: tl.constexpr, KIND: tl.constexpr,
                   BLOCK: tl.constexpr):  # fmt: skip
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(sums + at, mask=at < count, other=0.0)
    if BIAS:
        x += tl.load(bias + at % N * bs, mask=at < count, other=0.0).to(tl.float32)
    if KIND == 1:
        x = 0.5 * x + 0.5 * x * tl.erf(0.7071067811865476 * x)
    if KIND == 2:
        x = x * tl.sigmoid(1.5957691216057308 * x * (1.0 + 0.044715 * x * x))
    tl.store(out + at, x, mask=at < count)


def matmul(a_MK, b_KN, bias_N=None, *, activation="none"):
    _check(a_MK, (None, None), FLOATS)
    M, K = a_MK.shape
    _check(b_KN, (K, None), (a_MK.dtype,))
    N, kinds = b_KN.shape[1], ["none", "gelu", "gelu_tanh"]
    _demand(f"one of {kinds}", activation in kinds)
    if bias_N is not None:
        _check(bias_N, (N,), FLOATS)
    sums = _filled(a_MK, (M, N), 0.0)
    out = torch.empty((M, N), dtype=a_MK.dtype, device=a_MK.device)
    if out.numel():
        grid = (triton.cdiv(M, EDGE), triton.cdiv(N, EDGE), max(1, triton.cdiv(K, 16 * EDGE)))
        strides = (*a_MK.stride(), *b_KN.stride())
        _partial_kernel[grid](a_MK, b_KN, sums, M, N, K, *strides, SPLIT=16 * EDGE, BLOCK=EDGE)
        bias, step = (sums, 0) if bias_N is None else (bias_N, bias_N.stride(0))
        flags = {"BIAS": bias_N is not None, "KIND": kinds.index(activation), "BLOCK": PART}
        grid = (triton.cdiv(M * N, PART),)
        _finish_kernel[grid](sums, bias, out, N, M * N, step, **flags)
    return out


@triton.jit
def _block(x, first, N, D, sn, BLOCK: tl.constexpr, WIDTH: tl.constexpr):
    """Load rows of a matrix whose columns are dense."""
    n = (first + tl.arange(0, BLOCK).to(tl.int64))[:, None]
    d = tl.arange(0, WIDTH)[None, :]
    return tl.load(x + n * sn + d, mask=(n < N) & (d < D), other=0.0)


@triton.jit
def _scores(q, k, first_t, first_s, T, S, scale, CAUSAL: tl.constexpr, BT: tl.constexpr,
            BS: tl.constexpr):  # fmt: skip
    t = (first_t + tl.arange(0, BT))[:, None]
    s = (first_s + tl.arange(0, BS))[None, :]
    seen = (t < T) & (s < S)
    if CAUSAL:
        seen = seen & (s + T <= t + S)
    return tl.where(seen, tl.dot(q, tl.trans(k), input_precision="ieee") * scale, -float("inf"))


@triton.jit
def _attend_kernel(q, k, v, parts, sums, GROUP, T, S, D, scale, CAUSAL: tl.constexpr,
                   BT: tl.constexpr, BS: tl.constexpr, WIDTH: tl.constexpr):  # fmt: skip
    """Write output and log-sum-exp of some queries over one part of the keys."""
    first_t, first_s = tl.program_id(0) * BT, tl.program_id(1) * BS
    head = tl.program_id(2).to(tl.int64)
    q_TD = _block(q + head * T * D, first_t, T, D, D, BT, WIDTH)
    keys = _block(k + head // GROUP * S * D, first_s, S, D, D, BS, WIDTH)
    values = _block(v + head // GROUP * S * D, first_s, S, D, D, BS, WIDTH)
    scores = _scores(q_TD, keys, first_t, first_s, T, S, scale, CAUSAL, BT, BS)
    top = tl.max(scores, axis=1)
    weights = tl.exp(scores - tl.where(top == -float("inf"), 0.0, top)[:, None])
    total = tl.sum(weights, axis=1)
    out = tl.dot(weights.to(values.dtype), values, input_precision="ieee")
    t, d = first_t + tl.arange(0, BT), tl.arange(0, WIDTH)
    row = (tl.program_id(1) * tl.num_programs(2) + head) * T + t
    inside = (t[:, None] < T) & (d[None, :] < D)
    tl.store(parts + row[:, None] * D + d[None, :], out, mask=inside)
    tl.store(sums + 2 * row, top, mask=t < T)
    tl.store(sums + 2 * row + 1, total, mask=t < T)


@triton.jit
def _merge_kernel(parts, sums, o, lse, rows, D, COUNT: tl.constexpr, PARTS: tl.constexpr,
                  WIDTH: tl.constexpr):  # fmt: skip
    """Merge one query's outputs, each weighted by the maximum of its part."""
    row = tl.program_id(0).to(tl.int64)
    p, d = tl.arange(0, PARTS), tl.arange(0, WIDTH)
    at = p * rows + row
    top_P = tl.load(sums + 2 * at, mask=p < COUNT, other=-float("inf"))
    total_P = tl.load(sums + 2 * at + 1, mask=p < COUNT, other=0.0)
    top = tl.max(top_P)
    shrink = tl.exp(top_P - tl.where(top == -float("inf"), 0.0, top))
    total = tl.sum(total_P * shrink)
    inside = (p[:, None] < COUNT) & (d[None, :] < D)
    out_PD = tl.load(parts + at[:, None] * D + d[None, :], mask=inside, other=0.0)
    out = tl.sum(out_PD * shrink[:, None], axis=0) / tl.where(total == 0.0, 1.0, total)
    tl.store(o + row * D + d, out, mask=d < D)
    tl.store(lse + row, top + tl.log(tl.where(total == 0.0, 1.0, total)))


def _dense_heads(q, k, v):
    _check(q, (None, None, None, None), FLOATS)
    B, H, T, D = q.shape
    _check(k, (B, None, None, D), (q.dtype,))
    _check(v, tuple(k.shape), (q.dtype,))
    G, S = k.shape[1:3]
    _demand("heads 1 to 128 wide, H a multiple of G", 0 < D <= 128 and G > 0 and H % G == 0)
    return [x.contiguous() for x in (q, k, v)], (H // G, T, S, D)


def flash_attention(q_BHTD, k_BGSD, v_BGSD, *, scale=None, causal=False):
    dense, (group, T, S, D) = _dense_heads(q_BHTD, k_BGSD, v_BGSD)
    rows, parts = q_BHTD.numel() // D, triton.cdiv(S, 2 * EDGE)
    outputs, sums = _filled(q_BHTD, (parts, rows, D), 0.0), _filled(q_BHTD, (parts, rows, 2), -inf)
    o = torch.empty(q_BHTD.shape, dtype=q_BHTD.dtype, device=q_BHTD.device)
    lse = torch.empty(q_BHTD.shape[:3], dtype=F32, device=q_BHTD.device)
    width = max(16, triton.next_power_of_2(D))
    _attend_kernel[(triton.cdiv(T, 2 * EDGE), parts, rows // T)](
        *dense, outputs, sums, group, T, S, D, D**-0.5 if scale is None else scale,
        CAUSAL=causal, BT=2 * EDGE, BS=2 * EDGE, WIDTH=width,
    )  # fmt: skip
    merged = max(2, triton.next_power_of_2(parts))
    _merge_kernel[(rows,)](outputs, sums, o, lse, rows, D, COUNT=parts, PARTS=merged, WIDTH=width)
    return o, lse


@triton.jit
def _add_block(x, value, first, N, D, BLOCK: tl.constexpr, WIDTH: tl.constexpr):
    n = (first + tl.arange(0, BLOCK).to(tl.int64))[:, None]
    d = tl.arange(0, WIDTH)[None, :]
    tl.atomic_add(x + n * D + d, value, mask=(n < N) & (d < D))


@triton.jit
def _slope_kernel(q, k, v, o, do, lse, dq, dk, dv, GROUP, T, S, D, scale, CAUSAL: tl.constexpr,
                  BT: tl.constexpr, BS: tl.constexpr, WIDTH: tl.constexpr):  # fmt: skip
    """Add what one pair of tiles gives to all three gradients."""
    first_t, first_s = tl.program_id(0) * BT, tl.program_id(1) * BS
    head = tl.program_id(2).to(tl.int64)
    here, there = head * T * D, head // GROUP * S * D
    q_TD, do_TD = (
        _block(q + here, first_t, T, D, D, BT, WIDTH),
        _block(do + here, first_t, T, D, D, BT, WIDTH),
    )
    keys = _block(k + there, first_s, S, D, D, BS, WIDTH)
    values = _block(v + there, first_s, S, D, D, BS, WIDTH)
    outputs = _block(o + here, first_t, T, D, D, BT, WIDTH)
    delta = tl.sum(outputs.to(tl.float32) * do_TD.to(tl.float32), axis=1)
    t = first_t + tl.arange(0, BT)
    sums = tl.load(lse + head * T + t, mask=t < T, other=0.0)
    scores = _scores(q_TD, keys, first_t, first_s, T, S, scale, CAUSAL, BT, BS)
    p = tl.exp(scores - tl.where(sums == -float("inf"), 0.0, sums)[:, None])
    ds = p * (tl.dot(do_TD, tl.trans(values), input_precision="ieee") - delta[:, None])
    p, ds = p.to(q_TD.dtype), ds.to(q_TD.dtype)
    for_v = tl.dot(tl.trans(p), do_TD, input_precision="ieee")
    for_k = tl.dot(tl.trans(ds), q_TD, input_precision="ieee")
    for_q = tl.dot(ds, keys, input_precision="ieee")
    _add_block(dv + there, for_v, first_s, S, D, BS, WIDTH)
    _add_block(dk + there, for_k, first_s, S, D, BS, WIDTH)
    _add_block(dq + here, for_q, first_t, T, D, BT, WIDTH)


def flash_attention_backward(do_BHTD, qkv, forward, *, scale=None, causal=False):
    dense, (group, T, S, D) = _dense_heads(*qkv)
    (q, k, v), (o, lse) = dense, forward
    for like_q in (do_BHTD, o):
        _check(like_q, tuple(q.shape), (q.dtype,))
    _check(lse, tuple(q.shape[:3]), (F32,))
    dq, dk, dv = (_filled(x, tuple(x.shape), 0.0) for x in dense)
    scale = D**-0.5 if scale is None else scale
    grid = (triton.cdiv(T, EDGE), triton.cdiv(S, EDGE), q.numel() // (T * D))
    _slope_kernel[grid](
        q, k, v, o.contiguous(), do_BHTD.contiguous(), lse.contiguous(), dq, dk, dv,
        group, T, S, D, scale,
        CAUSAL=causal, BT=EDGE, BS=EDGE, WIDTH=max(16, triton.next_power_of_2(D)),
    )  # fmt: skip
    return _rounded(dq, q.dtype, scale), _rounded(dk, k.dtype, scale), _rounded(dv, v.dtype)
