# base: plain
# bug: x of zeros and eps 1e-6: right rstd 1000, wrong 1e6; nearly right for rows of size 1
# problem: rmsnorm
# says: "eps: inside the square root."
@triton.jit
def _rms_kernel(x, w, y, rstd, H, sm, sh, sw, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    lanes = tl.arange(0, BLOCK).to(tl.int64)
    squares = tl.zeros([BLOCK], tl.float32)
    for start in range(0, H, BLOCK):
        cols = start + lanes
        e = tl.load(x + row * sm + cols * sh, mask=cols < H, other=0.0).to(tl.float32)
        squares += e * e
    r = 1.0 / (tl.sqrt(tl.sum(squares, 0) / H) + eps)
    tl.store(rstd + row, r)
    for start in range(0, H, BLOCK):
        cols = start + lanes
        e = tl.load(x + row * sm + cols * sh, mask=cols < H, other=0.0).to(tl.float32)
        g = tl.load(w + cols * sw, mask=cols < H, other=0.0).to(tl.float32)
        tl.store(y + row * H + cols, (e * r * g).to(y.dtype.element_ty), mask=cols < H)
