# base: whole_row
# bug: dy of ones plus noise: right dx with mean(g) subtracted, wrong without it
# problem: layernorm
# says: "`dx = rstd · (g − mean(g) − x̂ · mean(g · x̂))`"
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
        tl.store(dx + row * H + cols, (rest * r).to(dx.dtype.element_ty), mask=inside)
        sum_w += d * xhat
        sum_b += d
    tl.store(part_w + pid * H + cols, sum_w, mask=inside)
    if CENTER:
        tl.store(part_b + pid * H + cols, sum_b, mask=inside)
