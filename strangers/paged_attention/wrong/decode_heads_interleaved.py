# base: loops
# bug: Hq = 4, H = 2: query head 1 reads key/value head 1 instead of 0; right with H = 1 and with H = Hq
# problem: paged_decode
# says: "Query head h reads key/value head `h // (Hq // H)`."


def paged_decode(
    q_BHqD: Tensor,
    k_PNHD: Tensor,
    v_PNHD: Tensor,
    table_BL: Tensor,
    lengths_B: Tensor,
    *,
    scale: float | None = None,
) -> Tensor:
    _check(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B)
    if q_BHqD.shape[0] != lengths_B.shape[0]:
        raise ValueError("one query per sequence")
    if scale is None:
        scale = 1 / math.sqrt(q_BHqD.shape[2])
    n = k_PNHD.shape[1]
    group = q_BHqD.shape[1] // k_PNHD.shape[2]
    out = torch.zeros(q_BHqD.shape, dtype=q_BHqD.dtype, device=q_BHqD.device)
    for b, length in enumerate(lengths_B.tolist()):
        if length == 0:
            continue
        pages = table_BL[b, : (length + n - 1) // n].tolist()
        for h in range(k_PNHD.shape[2]):
            k = _rows(k_PNHD[:, :, h], pages, 0, length)
            v = _rows(v_PNHD[:, :, h], pages, 0, length)
            for g in range(group):
                head = g * k_PNHD.shape[2] + h
                scores = (k @ q_BHqD[b, head].float()) * scale
                weights = torch.exp(scores - scores.max())
                out[b, head] = (weights @ v) / weights.sum()
    return out
