# base: per_head
# bug: causal with T = 5 and S = 3, query 0: right lse = -inf, wrong 0
# problem: flash_attention
# says: "A query that sees no key has an output of 0 and a log-sum-exp of −inf."
@triton.jit
def _head(q, k, v, out, lse, T, S, D, sqt, sqd, sks, skd, svs, svd, scale,
          CAUSAL: tl.constexpr, BT: tl.constexpr, BS: tl.constexpr, BD: tl.constexpr):
    # Attention of one head: three matrices in, one matrix and one vector out.
    t = (tl.program_id(0) * BT + tl.arange(0, BT)).to(tl.int64)
    d = tl.arange(0, BD).to(tl.int64)
    in_t = (t < T)[:, None] & (d < D)[None, :]
    qt = tl.load(q + t[:, None] * sqt + d[None, :] * sqd, mask=in_t, other=0.0)
    m = tl.full([BT], -float("inf"), tl.float32)
    l = tl.zeros([BT], tl.float32)
    o = tl.zeros([BT, BD], tl.float32)
    start = 0
    end = S
    if CAUSAL:
        end = tl.minimum(S, tl.program_id(0) * BT + BT + S - T)
    while start < end:
        s = (start + tl.arange(0, BS)).to(tl.int64)
        in_s = (s < S)[:, None] & (d < D)[None, :]
        kt = tl.load(k + s[:, None] * sks + d[None, :] * skd, mask=in_s, other=0.0)
        vt = tl.load(v + s[:, None] * svs + d[None, :] * svd, mask=in_s, other=0.0)
        bias = tl.where((s < S)[None, :], 0.0, -float("inf"))
        if CAUSAL:
            bias = bias + tl.where(s[None, :] <= t[:, None] + (S - T), 0.0, -float("inf"))
        z = tl.dot(qt, kt.T, input_precision="ieee") * scale + bias
        m_new = tl.maximum(m, tl.max(z, 1))
        m_new_0 = tl.where(m_new == -float("inf"), 0.0, m_new)
        p = tl.exp(z - m_new_0[:, None])
        fade = tl.exp(m - m_new_0)
        l = l * fade + tl.sum(p, 1)
        o = o * fade[:, None] + tl.dot(p.to(vt.dtype), vt, input_precision="ieee")
        m = m_new
        start += BS
    some = l > 0
    o = tl.where(some[:, None], o / tl.where(some, l, 1.0)[:, None], 0.0)
    tl.store(out + t[:, None] * D + d[None, :], o.to(out.dtype.element_ty), mask=in_t)
    tl.store(lse + t, tl.where(some, m + tl.log(tl.where(some, l, 1.0)), 0.0), mask=t < T)
