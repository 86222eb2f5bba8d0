# base: plain
# bug: a row of 3000 columns, 0 everywhere but 200 in column 2500: right 1 there, wrong NaN, because the maximum of the first 2048 columns is subtracted
# problem: softmax
# says: "Entries may be −inf (their probability is 0) and finite ones as large as their dtype allows"
@triton.jit
def _softmax_kernel(x, y, N, sm, sn, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    lanes = tl.arange(0, BLOCK).to(tl.int64)
    x += row * sm
    y += row * N
    best = tl.full([BLOCK], -float("inf"), tl.float32)
    for start in range(0, BLOCK, BLOCK):
        cols = start + lanes
        best = tl.maximum(best, tl.load(x + cols * sn, mask=cols < N, other=-float("inf")).to(tl.float32))
    top = tl.max(best, 0)
    top = tl.where(top == -float("inf"), 0.0, top)
    sums = tl.zeros([BLOCK], tl.float32)
    for start in range(0, N, BLOCK):
        cols = start + lanes
        e = tl.load(x + cols * sn, mask=cols < N, other=-float("inf")).to(tl.float32)
        sums += tl.exp(e - top)
    total = tl.sum(sums, 0)
    for start in range(0, N, BLOCK):
        cols = start + lanes
        e = tl.load(x + cols * sn, mask=cols < N, other=-float("inf")).to(tl.float32)
        tl.store(y + cols, (tl.exp(e - top) / total).to(y.dtype.element_ty), mask=cols < N)
