# base: whole_row
# bug: causal with T = 3 and S = 5: right query 0 sees keys 0 to 2, wrong key 0 alone; right for T = S
# problem: flash_attention
# says: "causal: query i sees key j only if `j <= i + S − T`: the last query sees all keys."
@triton.jit
def _forward_tile(
    q, k, v, out, lse, sqb, sqh, sqt, sqd, skb, skg, sks, skd, svb, svg, svs, svd,
    H, G, T, S, D, scale2, CAUSAL: tl.constexpr, BT: tl.constexpr, BS: tl.constexpr, BD: tl.constexpr,
):
    tiles = tl.cdiv(T, BT)
    pid = tl.program_id(0).to(tl.int64)
    bh = pid // tiles
    b = bh // H
    h = bh % H
    g = h * G // H
    t = pid % tiles * BT + tl.arange(0, BT)
    d = tl.arange(0, BD).to(tl.int64)
    q_at = q + b * sqb + h * sqh + t[:, None] * sqt + d[None, :] * sqd
    qt = tl.load(q_at, mask=(t[:, None] < T) & (d[None, :] < D), other=0.0)
    m = tl.full([BT], -float("inf"), tl.float32)
    l = tl.zeros([BT], tl.float32)
    o = tl.zeros([BT, BD], tl.float32)
    last = S
    if CAUSAL:
        last = tl.minimum(pid % tiles * BT + BT, S)
    for start in range(0, last, BS):
        s = (start + tl.arange(0, BS)).to(tl.int64)
        # Keys are loaded already transposed: [D, S].
        kt = tl.load(
            k + b * skb + g * skg + s[None, :] * sks + d[:, None] * skd,
            mask=(s[None, :] < S) & (d[:, None] < D), other=0.0,
        )
        vt = tl.load(
            v + b * svb + g * svg + s[:, None] * svs + d[None, :] * svd,
            mask=(s[:, None] < S) & (d[None, :] < D), other=0.0,
        )
        x = tl.dot(qt, kt, input_precision="ieee") * scale2
        if CAUSAL:
            x = tl.where((s[None, :] < S) & (s[None, :] <= t[:, None]), x, -float("inf"))
        else:
            x = tl.where(s[None, :] < S, x, -float("inf"))
        m_new = tl.maximum(m, tl.max(x, 1))
        base = tl.where(m_new == -float("inf"), 0.0, m_new)
        p = tl.exp2(x - base[:, None])
        alpha = tl.exp2(m - base)
        l = l * alpha + tl.sum(p, 1)
        o = tl.dot(p.to(vt.dtype), vt, o * alpha[:, None], input_precision="ieee")
        m = m_new
    o = tl.where(l[:, None] > 0, o / l[:, None], 0.0)
    inside = (t[:, None] < T) & (d[None, :] < D)
    tl.store(out + (bh * T + t)[:, None] * D + d[None, :], o.to(out.dtype.element_ty), mask=inside)
    tl.store(lse + bh * T + t, (m + tl.log2(l)) * LN2, mask=t < T)
