# base: plain
# bug: any output that is not orthogonal to its gradient: right dk with p · (dp − δ), wrong p · dp (dq and dv are right)
# problem: flash_attention_backward
# says: "Return the gradients dq, dk and dv, each with shape and dtype of its tensor."
@triton.jit
def _dkv_kernel(
    do, q, k, v, out, lse, dk, dv, sob, soh, sot, sod, sqb, sqh, sqt, sqd, skb, skg, sks, skd,
    svb, svg, svs, svd, sub, suh, sut, sud, slb, slh, slt, H, G, T, S, D, scale,
    CAUSAL: tl.constexpr, BT: tl.constexpr, BS: tl.constexpr, BD: tl.constexpr,
):
    blocks = (S + BS - 1) // BS
    pid = tl.program_id(0).to(tl.int64)
    bg = pid // blocks
    b = bg // G
    g = bg % G
    keys = pid % blocks * BS + tl.arange(0, BS)
    dims = tl.arange(0, BD)
    kt = _tile(k + b * skb + g * skg, keys, dims, S, D, sks, skd)
    vt = _tile(v + b * svb + g * svg, keys, dims, S, D, svs, svd)
    acc_k = tl.zeros([BS, BD], tl.float32)
    acc_v = tl.zeros([BS, BD], tl.float32)
    for member in range(0, H // G):
        h = g * (H // G) + member
        for start in range(0, T, BT):
            queries = start + tl.arange(0, BT)
            lse_at = lse + b * slb + h * slh + queries.to(tl.int64) * slt
            sums = tl.load(lse_at, mask=queries < T, other=-float("inf"))
            saw = sums > -float("inf")
            sums = tl.where(saw, sums, 0.0)
            qt = _tile(q + b * sqb + h * sqh, queries, dims, T, D, sqt, sqd)
            dot = _tile(do + b * sob + h * soh, queries, dims, T, D, sot, sod)
            ot = _tile(out + b * sub + h * suh, queries, dims, T, D, sut, sud)
            dot = tl.where(saw[:, None], dot, 0.0).to(qt.dtype)
            qt = tl.where(saw[:, None], qt, 0.0).to(kt.dtype)
            delta = tl.sum(dot.to(tl.float32) * ot.to(tl.float32), 1)
            s = tl.dot(qt, tl.trans(kt), input_precision="ieee") * scale
            seen = saw[:, None] & (keys < S)[None, :]
            if CAUSAL:
                seen = seen & (keys[None, :] <= queries[:, None] + S - T)
            p = tl.exp(tl.where(seen, s - sums[:, None], -float("inf")))
            acc_v += tl.dot(tl.trans(p.to(dot.dtype)), dot, input_precision="ieee")
            dp = tl.dot(dot, tl.trans(vt), input_precision="ieee")
            ds = tl.where(seen, p * dp, 0.0)
            acc_k += tl.dot(tl.trans(ds.to(qt.dtype)), qt, input_precision="ieee")
    offsets = (bg * S + keys)[:, None] * D + dims[None, :]
    inside = (keys[:, None] < S) & (dims[None, :] < D)
    tl.store(dk + offsets, (acc_k * scale).to(dk.dtype.element_ty), mask=inside)
    tl.store(dv + offsets, acc_v.to(dv.dtype.element_ty), mask=inside)
