# base: vectorised
# bug: float16 and scores near 40; right: scores in float32; wrong: rounded to float16, weights off by up to 1.6 %
# problem: paged_decode
# says: "Half precision is accumulated in float32."


def paged_decode(
    q_BHqD: Tensor,
    k_PNHD: Tensor,
    v_PNHD: Tensor,
    table_BL: Tensor,
    lengths_B: Tensor,
    *,
    scale: float | None = None,
) -> Tensor:
    _validate(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B)
    if q_BHqD.shape[0] != lengths_B.shape[0]:
        raise ValueError("one query per sequence")
    b, hq, d = q_BHqD.shape
    h = k_PNHD.shape[2]
    scale = d**-0.5 if scale is None else scale
    q_BHGD = q_BHqD.float().reshape(b, h, hq // h, d) * scale
    out = torch.zeros(b, h, hq // h, d, device=q_BHqD.device)
    for i, length in enumerate(lengths_B.tolist()):
        if length:
            k_SHD = _tokens(k_PNHD, table_BL[i], 0, length)
            s_HGS = torch.einsum("hgd,shd->hgs", q_BHGD[i], k_SHD).to(q_BHqD.dtype)
            weights_HGS = s_HGS.float().softmax(-1)
            v_SHD = _tokens(v_PNHD, table_BL[i], 0, length)
            out[i] = torch.einsum("hgs,shd->hgd", weights_HGS, v_SHD)
    return out.reshape(b, hq, d).to(q_BHqD.dtype)
