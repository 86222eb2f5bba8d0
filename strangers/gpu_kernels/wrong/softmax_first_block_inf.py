# base: flat
# bug: a row with an entry of -inf among its first 1024 columns, the rest finite: right probability 0 there, wrong NaN in the whole row, by -inf - (-inf) in the lane of that entry
# problem: softmax
# says: "Entries may be −inf (their probability is 0) and finite ones as large as their dtype allows"
@triton.jit
def _lane_softmax(x, y, M, N, sm, sn, BM: tl.constexpr, BN: tl.constexpr):
    # Every lane has a maximum and a sum of its own; they meet once, at the end.
    row = (tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM))[:, None]
    lane = tl.arange(0, BN).to(tl.int64)[None, :]
    m = tl.full([BM, BN], -float("inf"), tl.float32)
    l = tl.zeros([BM, BN], tl.float32)
    for start in range(0, N, BN):
        ok = (row < M) & (start + lane < N)
        e = tl.load(x + row * sm + (start + lane) * sn, mask=ok, other=-float("inf")).to(tl.float32)
        new = tl.maximum(m, e)
        safe = tl.where((start + lane < N) | (new > -float("inf")), new, 0.0)
        l = l * tl.exp(m - safe) + tl.exp(e - safe)
        m = new
    top = tl.max(m, 1)
    top = tl.where(top == -float("inf"), 0.0, top)[:, None]
    total = tl.sum(l * tl.exp(m - top), 1)[:, None]
    for start in range(0, N, BN):
        ok = (row < M) & (start + lane < N)
        e = tl.load(x + row * sm + (start + lane) * sn, mask=ok, other=-float("inf")).to(tl.float32)
        tl.store(y + row * N + start + lane, (tl.exp(e - top) / total).to(y.dtype.element_ty), mask=ok)
