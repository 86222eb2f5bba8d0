# base: whole_row
# bug: H = 257 (block 512): right mean over 257 columns, wrong over 512; right for powers of two
# problem: rmsnorm
# says: "`y = x · rstd · w` with `rstd = 1 / √(mean(x²) + eps)`, mean over the H columns of a row."
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
    r = 1.0 / tl.sqrt(tl.sum(e * e, 0) / (H if CENTER else BLOCK) + eps)
    tl.store(rstd + row, r)
    out = e * r * tl.load(w + cols * sw, mask=inside, other=0.0).to(tl.float32)
    if CENTER:
        out += tl.load(b + cols * sb, mask=inside, other=0.0).to(tl.float32)
    tl.store(y + row * H + cols, out.to(y.dtype.element_ty), mask=inside)
