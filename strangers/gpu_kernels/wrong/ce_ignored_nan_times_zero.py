# base: split
# bug: an ignored row that holds NaN: right a gradient of 0, wrong NaN · 0 = NaN
# problem: cross_entropy
# says: "Such a row has a gradient of 0, whatever it holds (NaN, perhaps)."
@triton.jit
def _ce_write(x, target, top_M, sum_M, kept, dx, V, pieces, sm, sv, st, ignore, BLOCK: tl.constexpr):
    pid = tl.program_id(0).to(tl.int64)
    row = pid // pieces
    j = pid % pieces * BLOCK + tl.arange(0, BLOCK)
    t = tl.load(target + row * st).to(tl.int64)
    keep = t != ignore
    e = tl.load(x + row * sm + j * sv, mask=j < V, other=NEG).to(tl.float32)
    p = tl.exp(e - tl.load(top_M + row)) / tl.load(sum_M + row)
    d = (p - (j == t).to(tl.float32)) / tl.load(kept)
    tl.store(dx + row * V + j, (d * keep.to(tl.float32)).to(dx.dtype.element_ty), mask=j < V)
