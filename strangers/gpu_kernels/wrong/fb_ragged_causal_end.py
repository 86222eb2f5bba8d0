# base: transposed
# bug: causal with T = 5 and S = 65: right the last query sees all 65 keys, wrong keys behind 64 are never visited; right when S − T is a multiple of 32
# problem: flash_attention_backward
# says: "causal: as in the forward pass."
@triton.jit
def _backward_t(
    do, q, k, v, out, lse, dq, dk, dv, sob, soh, sot, sod, sqb, sqh, sqt, sqd, skb, skg, sks, skd,
    svb, svg, svs, svd, sub, suh, sut, sud, slb, slh, slt, H, G, T, S, D, scale,
    CAUSAL: tl.constexpr, BT: tl.constexpr, BS: tl.constexpr, BD: tl.constexpr,
):
    # One program per key/value head: it owns dk and dv of the head and dq of all that read it, and
    # adds to them in memory, in float32.
    bg = tl.program_id(0).to(tl.int64)
    b = bg // G
    g = bg % G
    d = tl.arange(0, BD).to(tl.int64)
    for h in range(g * (H // G), (g + 1) * (H // G)):
        row = (b * H + h) * T * D
        for t0 in range(0, T, BT):
            t = (t0 + tl.arange(0, BT)).to(tl.int64)
            l = tl.load(lse + b * slb + h * slh + t * slt, mask=t < T, other=-float("inf"))
            live = (l > -float("inf"))[None, :] & (d < D)[:, None]
            at = d[:, None] * sqd + t[None, :] * sqt
            qt = tl.load(q + b * sqb + h * sqh + at, mask=live, other=0.0)
            at = d[:, None] * sod + t[None, :] * sot
            x = tl.load(do + b * sob + h * soh + at, mask=live, other=0.0)
            at = d[:, None] * sud + t[None, :] * sut
            y = tl.load(out + b * sub + h * suh + at, mask=live, other=0.0)
            acc = tl.zeros([BD, BT], tl.float32)
            end = S
            if CAUSAL:
                end = tl.minimum(S, t0 + BT + (S - T) // BS * BS)
            for s0 in range(0, end, BS):
                s = (s0 + tl.arange(0, BS)).to(tl.int64)
                kt = _get(k + b * skb + g * skg, s, d, S, D, sks, skd, 0.0)
                vt = _get(v + b * svb + g * svg, s, d, S, D, svs, svd, 0.0)
                p, ds = _weights_t(kt, vt, qt, x, y, l, t, s, T, S, scale, CAUSAL)
                acc += tl.dot(tl.trans(kt), ds.to(kt.dtype), input_precision="ieee")
                old = _get(dv + bg * S * D, d, s, D, S, 1, D, 0.0)
                old += tl.dot(x, tl.trans(p).to(x.dtype), input_precision="ieee")
                _put(dv + bg * S * D, d, s, D, S, 1, D, old)
                old = _get(dk + bg * S * D, d, s, D, S, 1, D, 0.0)
                old += tl.dot(qt, tl.trans(ds).to(qt.dtype), input_precision="ieee") * scale
                _put(dk + bg * S * D, d, s, D, S, 1, D, old)
                tl.debug_barrier()
            _put(dq + row, d, t, D, T, 1, D, acc * scale)
