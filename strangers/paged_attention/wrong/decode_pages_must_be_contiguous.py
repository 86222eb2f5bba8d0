# base: vectorised
# bug: k_PNHD a transposed view ([P, H, N, D] in memory); right: result; wrong: RuntimeError of view
# problem: paged_decode
# says: "inputs may have any strides"


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
            n = k_PNHD.shape[1]
            t = torch.arange(length, device=table_BL.device)
            slots = table_BL[i, t // n] * n + t % n
            k_SHD = k_PNHD.view(-1, h, d)[slots].float()
            weights_HGS = torch.einsum("hgd,shd->hgs", q_BHGD[i], k_SHD).softmax(-1)
            v_SHD = v_PNHD.view(-1, h, d)[slots].float()
            out[i] = torch.einsum("hgs,shd->hgd", weights_HGS, v_SHD)
    return out.reshape(b, hq, d).to(q_BHqD.dtype)
