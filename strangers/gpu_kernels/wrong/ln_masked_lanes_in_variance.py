# base: transposed
# bug: H = 65 with mean 3: right the variance of 65 numbers, wrong (0 − mean)² of the empty lanes of the block of 512 is added (with mean near 0 it does not show)
# problem: layernorm
# says: "`y = (x − mean) · rstd · w + b` with `rstd = 1 / √(var + eps)`; the variance divides by H."
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
        e = e - mu[None, :]
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
