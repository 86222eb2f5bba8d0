# base: plain
# bug: S = 70 (three blocks of 32) with growing scores: right the old output times exp(m - m'), wrong it is kept as it is; one block is right
# problem: flash_attention
# says: "Return `softmax(scale · q kᵀ) v`, like q, and the log-sum-exp of the scores, `lse_BHT`."
@triton.jit
def _attention_kernel(
    q, k, v, out, lse, sqb, sqh, sqt, sqd, skb, skg, sks, skd, svb, svg, svs, svd,
    H, G, T, S, D, scale,
    CAUSAL: tl.constexpr, BT: tl.constexpr, BS: tl.constexpr, BD: tl.constexpr,
):
    blocks = (T + BT - 1) // BT
    pid = tl.program_id(0).to(tl.int64)
    bh = pid // blocks
    b = bh // H
    h = bh % H
    g = h // (H // G)
    first = pid % blocks * BT
    queries = first + tl.arange(0, BT)
    dims = tl.arange(0, BD)
    qt = _tile(q + b * sqb + h * sqh, queries, dims, T, D, sqt, sqd)
    top = tl.full([BT], -float("inf"), tl.float32)
    total = tl.zeros([BT], tl.float32)
    acc = tl.zeros([BT, BD], tl.float32)
    end = S
    if CAUSAL:
        end = tl.minimum(S, first + BT + S - T)
    for start in range(0, end, BS):
        keys = start + tl.arange(0, BS)
        kt = _tile(k + b * skb + g * skg, keys, dims, S, D, sks, skd)
        s = tl.dot(qt, tl.trans(kt), input_precision="ieee") * scale
        seen = (keys < S)[None, :]
        if CAUSAL:
            seen = seen & (keys[None, :] <= queries[:, None] + S - T)
        s = tl.where(seen, s, -float("inf"))
        new = tl.maximum(top, tl.max(s, 1))
        safe = tl.where(new == -float("inf"), 0.0, new)
        p = tl.exp(s - safe[:, None])
        fade = tl.exp(top - safe)
        total = total * fade + tl.sum(p, 1)
        vt = _tile(v + b * svb + g * svg, keys, dims, S, D, svs, svd)
        acc = acc + tl.dot(p.to(vt.dtype), vt, input_precision="ieee")
        top = new
    nothing = total == 0.0
    total = tl.where(nothing, 1.0, total)
    acc = acc / total[:, None]
    offsets = (bh * T + queries)[:, None] * D + dims[None, :]
    inside = (queries[:, None] < T) & (dims[None, :] < D)
    tl.store(out + offsets, acc.to(out.dtype.element_ty), mask=inside)
    tl.store(lse + bh * T + queries, top + tl.log(total), mask=queries < T)
