# base: split
# bug: D = 64: right dk = scale · dsᵀ q, wrong scale² (right for scale = 1)
# problem: flash_attention_backward
# says: "scale: as in the forward pass."
@triton.jit
def _backward_part(
    do, q, k, v, out, lse, dq, part_k, part_v, sob, soh, sot, sod, sqb, sqh, sqt, sqd,
    skb, skg, sks, skd, svb, svg, svs, svd, sub, suh, sut, sud, slb, slh, slt, H, G, T, S, D, scale,
    tiles_t, CAUSAL: tl.constexpr, BT: tl.constexpr, BS: tl.constexpr, BD: tl.constexpr,
):
    # Programs below tiles_t own queries, the others own keys of one query head.
    pid = tl.program_id(0)
    bh = tl.program_id(1).to(tl.int64)
    b = bh // H
    h = bh % H
    g = h // (H // G)
    do += b * sob + h * soh
    q += b * sqb + h * sqh
    k += b * skb + g * skg
    v += b * svb + g * svg
    out += b * sub + h * suh
    lse += b * slb + h * slh
    d = tl.arange(0, BD)
    if pid < tiles_t:
        t = pid * BT + tl.arange(0, BT)
        qt = _read(q, t, d, T, D, sqt, sqd)
        x = _read(do, t, d, T, D, sot, sod)
        delta = tl.sum(x.to(tl.float32) * _read(out, t, d, T, D, sut, sud).to(tl.float32), 1)
        l = tl.load(lse + t.to(tl.int64) * slt, mask=t < T, other=NEG)
        acc = tl.zeros([BT, BD], tl.float32)
        for start in range(0, S, BS):
            s = start + tl.arange(0, BS)
            kt = _read(k, s, d, S, D, sks, skd)
            p = _probabilities(qt, kt, l, t, s, T, S, scale, CAUSAL)
            dp = tl.dot(x, tl.trans(_read(v, s, d, S, D, svs, svd)), input_precision="ieee")
            ds = tl.where(p > 0, p * (dp - delta[:, None]), 0.0)
            acc += tl.dot(ds.to(kt.dtype), kt, input_precision="ieee")
        _write(dq + bh * T * D, t, d, T, D, acc * scale)
    else:
        s = (pid - tiles_t) * BS + tl.arange(0, BS)
        kt = _read(k, s, d, S, D, sks, skd)
        vt = _read(v, s, d, S, D, svs, svd)
        acc_k = tl.zeros([BS, BD], tl.float32)
        acc_v = tl.zeros([BS, BD], tl.float32)
        for start in range(0, T, BT):
            t = start + tl.arange(0, BT)
            l = tl.load(lse + t.to(tl.int64) * slt, mask=t < T, other=NEG)
            qt = _read(q, t, d, T, D, sqt, sqd)
            x = _read(do, t, d, T, D, sot, sod)
            x = tl.where((l > NEG)[:, None], x.to(tl.float32), 0.0).to(qt.dtype)
            delta = tl.sum(x.to(tl.float32) * _read(out, t, d, T, D, sut, sud).to(tl.float32), 1)
            p = _probabilities(qt, kt, l, t, s, T, S, scale, CAUSAL)
            dp = tl.dot(x, tl.trans(vt), input_precision="ieee")
            ds = p * (dp - delta[:, None])
            acc_v += tl.dot(tl.trans(p).to(x.dtype), x, input_precision="ieee")
            acc_k += tl.dot(tl.trans(ds).to(qt.dtype), qt, input_precision="ieee")
        _write(part_k + bh * S * D, s, d, S, D, acc_k * scale * scale)
        _write(part_v + bh * S * D, s, d, S, D, acc_v)
