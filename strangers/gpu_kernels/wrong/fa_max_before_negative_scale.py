# base: flat
# bug: scale = -3 with q · k from -100 to 100: right the maximum of scaled scores is subtracted, wrong scale times the maximum, which is their minimum, so exp overflows to inf
# problem: flash_attention
# says: "scale: any finite number, also a negative one; None: 1/√D."
@triton.jit
def _one_query(
    q, k, v, out, lse, sqb, sqh, sqt, sqd, skb, skg, sks, skd, svb, svg, svs, svd,
    H, G, T, S, D, scale, CAUSAL: tl.constexpr, BS: tl.constexpr, BD: tl.constexpr,
):
    pid = tl.program_id(0).to(tl.int64)
    t = pid % T
    h = pid // T % H
    b = pid // T // H
    g = h // (H // G)
    d = tl.arange(0, BD).to(tl.int64)
    query = tl.load(q + b * sqb + h * sqh + t * sqt + d * sqd, mask=d < D, other=0.0).to(tl.float32)
    sees = S
    if CAUSAL:
        sees = tl.maximum(tl.minimum(t + S - T + 1, S), 0)
    m = -float("inf")
    l = 0.0
    o = tl.zeros([BD], tl.float32)
    for start in range(0, sees, BS):
        s = (start + tl.arange(0, BS)).to(tl.int64)
        ok = (s < sees)[:, None] & (d < D)[None, :]
        keys = tl.load(k + b * skb + g * skg + s[:, None] * sks + d[None, :] * skd, mask=ok, other=0.0)
        raw = tl.sum(keys.to(tl.float32) * query[None, :], 1)
        z = tl.where(s < sees, raw * scale, -float("inf"))
        new = tl.maximum(m, tl.max(tl.where(s < sees, raw, -float("inf")), 0) * scale)
        old = tl.exp(m - new)
        p = tl.exp(z - new)
        values = tl.load(v + b * svb + g * svg + s[:, None] * svs + d[None, :] * svd, mask=ok, other=0.0)
        l = l * old + tl.sum(p, 0)
        o = o * old + tl.sum(p[:, None] * values.to(tl.float32), 0)
        m = new
    if sees > 0:
        o = o / l
        m += tl.log(l)
    tl.store(out + pid * D + d, o.to(out.dtype.element_ty), mask=d < D)
    tl.store(lse + pid, m)
