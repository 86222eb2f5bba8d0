# base: vectorised
# bug: length 3, N = 4, NaN in row 3 of the values; right: as without; wrong: NaN, for 0 * NaN (keys alone are no trouble)
# problem: paged_decode
# says: "rows and pages that no token lies in may hold NaN and inf: neither may influence the result"


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
            weights_HGS = torch.einsum("hgd,shd->hgs", q_BHGD[i], k_SHD).softmax(-1)
            n = k_PNHD.shape[1]
            v_SHD = v_PNHD[table_BL[i, : -(-length // n)]].flatten(0, 1).float()
            weights_HGS = torch.nn.functional.pad(weights_HGS, (0, v_SHD.shape[0] - length))
            out[i] = torch.einsum("hgs,shd->hgd", weights_HGS, v_SHD)
    return out.reshape(b, hq, d).to(q_BHqD.dtype)
