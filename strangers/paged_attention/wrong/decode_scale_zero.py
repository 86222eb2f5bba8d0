# base: online
# bug: scale=0.0; right: the mean of the values; wrong: as with 1 / sqrt(D)
# problem: paged_decode
# says: "scale: factor of the scores before softmax; `1 / sqrt(D)` if None."


def paged_decode(
    q_BHqD: Tensor,
    k_PNHD: Tensor,
    v_PNHD: Tensor,
    table_BL: Tensor,
    lengths_B: Tensor,
    *,
    scale: float | None = None,
) -> Tensor:
    _check_pages(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B)
    _need(q_BHqD.shape[0] == table_BL.shape[0], "one query per sequence")
    scale = scale or 1 / math.sqrt(q_BHqD.shape[2])
    n, h = k_PNHD.shape[1:3]
    out = torch.empty(q_BHqD.shape, dtype=q_BHqD.dtype, device=q_BHqD.device)
    for b, (row, length) in enumerate(zip(table_BL.tolist(), lengths_B.tolist())):
        state = _Online(q_BHqD[b], h, scale)
        for page, first, last in _stretches(row, n, 0, length):
            state.add(k_PNHD[page, first:last], v_PNHD[page, first:last])
        out[b] = state.output().to(out.dtype)
    return out
