# base: transposed
# bug: rstd a slice with stride 2 (or expanded, stride 0): right its entries, wrong the numbers between them
# problem: rmsnorm
# says: "They may have any strides: transposed, sliced, or 0 (`expand`)."
@triton.jit
def _norm_back_t(
    dy, x, w, mean, rstd, dx, parts, M, H, sdm, sdh, sxm, sxh, sw, su, sr,
    CENTER: tl.constexpr, BM: tl.constexpr, BH: tl.constexpr,
):
    # parts [2, programs, H]: sums over this program's rows, of dy · x̂ and of dy.
    pid = tl.program_id(0).to(tl.int64)
    i = pid * BM + tl.arange(0, BM)
    lane = tl.arange(0, BH).to(tl.int64)
    r = tl.load(rstd + i, mask=i < M, other=0.0)[None, :]
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
