# base: whole_row
# bug: 5 rows, two ignored: right a gradient over 3, wrong over 5, beside a right loss
# problem: cross_entropy
# says: "the mean is over the rows whose target is not `ignore_index`."
@triton.jit
def _ce_gradient(x, target, kept, lse, dx, V, sm, sv, st, ignore, BLOCK: tl.constexpr):
    chunks = tl.cdiv(V, BLOCK)
    pid = tl.program_id(0).to(tl.int64)
    row = pid // chunks
    cols = pid % chunks * BLOCK + tl.arange(0, BLOCK)
    t = tl.load(target + row * st).to(tl.int64)
    d = tl.zeros([BLOCK], tl.float32)
    if t != ignore:
        top = tl.load(lse + row * 2)
        total = tl.load(lse + row * 2 + 1)
        e = tl.load(x + row * sm + cols * sv, mask=cols < V, other=-float("inf")).to(tl.float32)
        d = tl.exp(e - top) / total - tl.where(cols == t, 1.0, 0.0)
        d = d / (tl.num_programs(0) // chunks)
    tl.store(dx + row * V + cols, d.to(dx.dtype.element_ty), mask=cols < V)
