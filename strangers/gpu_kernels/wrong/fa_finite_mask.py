# base: split
# bug: causal with scores of -2e4 (q · k large and negative, or scale = -1000): right masked keys weigh 0, wrong they have the largest score
# problem: flash_attention
# says: "Return `softmax(scale · q kᵀ) v`, like q, and the log-sum-exp of the scores"
@triton.jit
def _attend_part(
    q, k, v, parts, tops, sums, sqb, sqh, sqt, sqd, skb, skg, sks, skd, svb, svg, svs, svd,
    H, G, T, S, D, chunk, splits, scale,
    CAUSAL: tl.constexpr, BT: tl.constexpr, BS: tl.constexpr, BD: tl.constexpr,
):
    # One block of queries against one chunk of keys.
    split = tl.program_id(1)
    blocks = tl.cdiv(T, BT)
    bh = tl.program_id(0).to(tl.int64) // blocks
    b = bh // H
    h = bh % H
    g = h // (H // G)
    t = tl.program_id(0) % blocks * BT + tl.arange(0, BT)
    d = tl.arange(0, BD)
    qt = _read(q + b * sqb + h * sqh, t, d, T, D, sqt, sqd)
    m = tl.full([BT], NEG, tl.float32)
    l = tl.zeros([BT], tl.float32)
    o = tl.zeros([BT, BD], tl.float32)
    for start in range(split * chunk, tl.minimum(split * chunk + chunk, S), BS):
        s = start + tl.arange(0, BS)
        kt = _read(k + b * skb + g * skg, s, d, S, D, sks, skd)
        vt = _read(v + b * svb + g * svg, s, d, S, D, svs, svd)
        z = tl.dot(qt, tl.trans(kt), input_precision="ieee") * scale
        see = (s < S)[None, :] & (t < T)[:, None]
        if CAUSAL:
            see = see & (s[None, :] + T <= t[:, None] + S)
        z = tl.where(see, z, -1.0e4)
        top = tl.maximum(m, tl.max(z, 1))
        base = tl.where(top == NEG, 0.0, top)
        p = tl.exp(z - base[:, None])
        old = tl.exp(m - base)
        l = l * old + tl.sum(p, 1)
        o = o * old[:, None] + tl.dot(p.to(vt.dtype), vt, input_precision="ieee")
        m = top
    row = (bh * splits + split) * T
    _write(parts + row * D, t, d, T, D, o)
    tl.store(tops + row + t, m, mask=t < T)
    tl.store(sums + row + t, l, mask=t < T)
