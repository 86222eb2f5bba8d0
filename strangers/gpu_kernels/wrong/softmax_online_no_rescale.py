# base: whole_row
# bug: x of 2 by 65537 with the maximum in the third block of 8192: right probabilities that sum to 1, wrong the old sum is not multiplied by exp(m - m')
# problem: softmax
# says: "A row may be longer than what one program can hold."
@triton.jit
def _softmax_online(x, y, N, sm, sn, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    top = -float("inf")
    total = 0.0
    for start in range(0, N, BLOCK):
        cols = (start + tl.arange(0, BLOCK)).to(tl.int64)
        e = tl.load(x + row * sm + cols * sn, mask=cols < N, other=-float("inf")).to(tl.float32)
        new = tl.maximum(top, tl.max(e, 0))
        safe = tl.where(new == -float("inf"), 0.0, new)
        total = total + tl.sum(tl.exp(e - safe), 0)
        top = new
    safe = tl.where(top == -float("inf"), 0.0, top)
    for start in range(0, N, BLOCK):
        cols = (start + tl.arange(0, BLOCK)).to(tl.int64)
        e = tl.load(x + row * sm + cols * sn, mask=cols < N, other=-float("inf")).to(tl.float32)
        tl.store(y + row * N + cols, (tl.exp(e - safe) / total).to(y.dtype.element_ty), mask=cols < N)
