# base: transposed
# bug: ignore_index = 2 with V = 33: right rows with target 2 are left out, wrong only negative targets are ever ignored
# problem: cross_entropy
# says: "ignore_index: any integer, also one from 0 to V − 1."
@triton.jit
def _ce_t(x, target, dx, losses, M, V, sm, sv, st, ignore, BM: tl.constexpr, BV: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM)
    lane = tl.arange(0, BV).to(tl.int64)
    n = _kept_rows(target, M, st, ignore, 256)
    t = tl.load(target + i * st, mask=i < M, other=0).to(tl.int64)
    keep = (i < M) & ((t != ignore) | (t >= 0))
    # Ignored rows are never read: every lane of theirs holds 0.
    m = tl.full([BM], -float("inf"), tl.float32)
    l = tl.zeros([BM], tl.float32)
    hit = tl.load(x + i * sm + t * sv, mask=keep, other=0.0).to(tl.float32)
    for start in range(0, V, BV):
        j = start + lane
        ok = (j < V)[:, None] & keep[None, :]
        e = tl.load(x + j[:, None] * sv + i[None, :] * sm, mask=ok, other=-float("inf")).to(tl.float32)
        top = tl.maximum(m, tl.max(e, 0))
        safe = tl.where(top == -float("inf"), 0.0, top)
        l = l * tl.exp(m - safe) + tl.sum(tl.exp(e - safe[None, :]), 0)
        m = top
    m = tl.where(keep, m, 0.0)
    l = tl.where(keep, l, 1.0)
    tl.store(losses + i, tl.where(keep, (m - hit) + tl.log(l), 0.0), mask=i < M)
    for start in range(0, V, BV):
        j = start + lane
        ok = (j < V)[:, None] & keep[None, :]
        e = tl.load(x + j[:, None] * sv + i[None, :] * sm, mask=ok, other=-float("inf")).to(tl.float32)
        p = tl.exp(e - m[None, :]) / l[None, :]
        d = (p - (j[:, None] == t[None, :]).to(tl.float32)) / n
        _put(dx, j, i, V, M, 1, V, tl.where(keep[None, :], d, 0.0))


@triton.jit
def _kept_rows(target, M, st, ignore, BLOCK: tl.constexpr):
    total = 0.0
    for start in range(0, M, BLOCK):
        i = (start + tl.arange(0, BLOCK)).to(tl.int64)
        t = tl.load(target + i * st, mask=i < M, other=0).to(tl.int64)
        total += tl.sum(tl.where((i < M) & ((t != ignore) | (t >= 0)), 1.0, 0.0), 0)
    return total
