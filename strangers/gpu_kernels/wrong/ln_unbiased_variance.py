# base: split
# bug: H = 8: right the variance divided by 8, wrong by 7
# problem: layernorm
# says: "the variance divides by H."
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
    tl.store(rstd + i, 1.0 / tl.sqrt(m2 / (tl.maximum(H - 1, 1) if CENTER else H) + eps), mask=i < M)
