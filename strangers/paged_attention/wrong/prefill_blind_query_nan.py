# base: vectorised
# bug: a chunk of 3 with lengths_B 2; right: query 0 gives zeros; wrong: NaN
# problem: paged_prefill
# says: "A query that sees nothing (its position is negative) gives zeros."


def paged_prefill(
    q_THqD: Tensor,
    starts_B1: Tensor,
    k_PNHD: Tensor,
    v_PNHD: Tensor,
    table_BL: Tensor,
    lengths_B: Tensor,
    *,
    scale: float | None = None,
) -> Tensor:
    _validate(q_THqD, k_PNHD, v_PNHD, table_BL, lengths_B)
    if starts_B1.shape != (lengths_B.shape[0] + 1,) or starts_B1.dtype != torch.int64:
        raise ValueError("starts must be [B + 1] and int64")
    if starts_B1[0] != 0 or starts_B1[-1] != q_THqD.shape[0] or (starts_B1.diff() < 0).any():
        raise ValueError("starts must rise from 0 to T")
    t, hq, d = q_THqD.shape
    h = k_PNHD.shape[2]
    scale = d**-0.5 if scale is None else scale
    out = torch.zeros(t, h, hq // h, d, device=q_THqD.device, dtype=q_THqD.dtype)
    starts = starts_B1.tolist()
    for b, length in enumerate(lengths_B.tolist()):
        n = starts[b + 1] - starts[b]
        if n == 0 or length == 0:
            continue
        q_THGD = q_THqD[starts[b] : starts[b + 1]].float().reshape(n, h, hq // h, d)
        k_SHD = _tokens(k_PNHD, table_BL[b], 0, length)
        s_HGTS = torch.einsum("thgd,shd->hgts", q_THGD * scale, k_SHD)
        mine = torch.arange(length - n, length, device=q_THqD.device)
        other = torch.arange(length, device=q_THqD.device)
        s_HGTS.masked_fill_(other[None, :] > mine[:, None], -torch.inf)
        w_HGTS = s_HGTS.softmax(-1)
        v_SHD = _tokens(v_PNHD, table_BL[b], 0, length)
        out[starts[b] : starts[b + 1]] = torch.einsum("hgts,shd->thgd", w_HGTS, v_SHD).to(out.dtype)
    return out.reshape(t, hq, d)
