# base: split
# bug: T = 1 and S = 130 (four splits) with large scores: right each part is multiplied by exp(m - max), wrong only the sums are
# problem: flash_attention
# says: "Return `softmax(scale · q kᵀ) v`, like q"
@triton.jit
def _attend_join(parts, tops, sums, out, lse, T, D, splits, BX: tl.constexpr, BD: tl.constexpr):
    # One query: the splits are rescaled to their common maximum.
    pid = tl.program_id(0).to(tl.int64)
    bh = pid // T
    i = (bh * splits + tl.arange(0, BX)) * T + pid % T
    have = tl.arange(0, BX) < splits
    m = tl.load(tops + i, mask=have, other=NEG)
    top = tl.max(m, 0)
    factor = tl.exp(m - tl.where(top == NEG, 0.0, top))
    total = tl.sum(tl.load(sums + i, mask=have, other=0.0) * factor, 0)
    d = tl.arange(0, BD)
    ok = have[:, None] & (d < D)[None, :]
    o = tl.sum(tl.load(parts + i[:, None] * D + d[None, :], mask=ok, other=0.0), 0)
    o = o / tl.where(total == 0.0, 1.0, total)
    tl.store(out + pid * D + d, o.to(out.dtype.element_ty), mask=d < D)
    tl.store(lse + pid, top + tl.log(tl.where(total == 0.0, 1.0, total)))
