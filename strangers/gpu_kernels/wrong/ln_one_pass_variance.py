# base: plain
# bug: mean 5000 and deviation 1: right rstd 1, wrong E[x²] − E[x]² in float32, off by 1 and more
# problem: layernorm
# says: "A mean that is many thousand times the deviation must not spoil the variance."
@triton.jit
def _ln_kernel(x, w, b, y, mean, rstd, H, sm, sh, sw, sb, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    lanes = tl.arange(0, BLOCK).to(tl.int64)
    sums = tl.zeros([BLOCK], tl.float32)
    for start in range(0, H, BLOCK):
        cols = start + lanes
        sums += tl.load(x + row * sm + cols * sh, mask=cols < H, other=0.0).to(tl.float32)
    mu = tl.sum(sums, 0) / H
    squares = tl.zeros([BLOCK], tl.float32)
    for start in range(0, H, BLOCK):
        cols = start + lanes
        e = tl.load(x + row * sm + cols * sh, mask=cols < H, other=0.0).to(tl.float32)
        squares += e * e
    r = 1.0 / tl.sqrt(tl.maximum(tl.sum(squares, 0) / H - mu * mu, 0.0) + eps)
    tl.store(mean + row, mu)
    tl.store(rstd + row, r)
    for start in range(0, H, BLOCK):
        cols = start + lanes
        e = tl.load(x + row * sm + cols * sh, mask=cols < H, other=0.0).to(tl.float32)
        g = tl.load(w + cols * sw, mask=cols < H, other=0.0).to(tl.float32)
        c = tl.load(b + cols * sb, mask=cols < H, other=0.0).to(tl.float32)
        out = (e - mu) * r * g + c
        tl.store(y + row * H + cols, out.to(y.dtype.element_ty), mask=cols < H)
