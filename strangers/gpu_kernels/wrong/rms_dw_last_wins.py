# base: flat
# bug: M = 33 and H = 64 (two tiles of 32 rows): right the sum over all rows, wrong the last tile alone, stored where it must be added
# problem: rmsnorm
# says: "`dx = rstd · (g − x̂ · mean(g · x̂))` and `dw = Σ dy · x̂` over all rows, added in float32."
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
    if LN:
        tl.atomic_add(dw + col, tl.sum(d * xhat, 0), mask=col < H)
    else:
        tl.store(dw + col, tl.sum(d * xhat, 0), mask=col < H)
    if LN:
        tl.atomic_add(db + col, tl.sum(d, 0), mask=col < H)
