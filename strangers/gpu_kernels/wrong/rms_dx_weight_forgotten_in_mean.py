# base: plain
# bug: a weight that is not all ones: right mean(g · x̂) with g = dy · w, wrong mean(dy · x̂)
# problem: rmsnorm
# says: "With x̂ = x · rstd and g = dy · w: `dx = rstd · (g − x̂ · mean(g · x̂))`"
@triton.jit
def _rms_dx_kernel(dy, x, w, rstd, dx, H, sdm, sdh, sxm, sxh, sw, sr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    lanes = tl.arange(0, BLOCK).to(tl.int64)
    r = tl.load(rstd + row * sr)
    dots = tl.zeros([BLOCK], tl.float32)
    for start in range(0, H, BLOCK):
        cols = start + lanes
        inside = cols < H
        xhat = tl.load(x + row * sxm + cols * sxh, mask=inside, other=0.0).to(tl.float32) * r
        g = tl.load(dy + row * sdm + cols * sdh, mask=inside, other=0.0).to(tl.float32)
        dots += g * xhat
    mean = tl.sum(dots, 0) / H
    for start in range(0, H, BLOCK):
        cols = start + lanes
        inside = cols < H
        xhat = tl.load(x + row * sxm + cols * sxh, mask=inside, other=0.0).to(tl.float32) * r
        g = tl.load(dy + row * sdm + cols * sdh, mask=inside, other=0.0).to(tl.float32)
        g *= tl.load(w + cols * sw, mask=inside, other=0.0).to(tl.float32)
        tl.store(dx + row * H + cols, (r * (g - xhat * mean)).to(dx.dtype.element_ty), mask=inside)
