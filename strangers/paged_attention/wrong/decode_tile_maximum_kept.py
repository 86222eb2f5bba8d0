# base: linked
# bug: length 65; right: all 65 tokens; wrong: token 64 is left out (every length up to 64, and 128, is right)
# problem: paged_decode
# says: "The query sees all of them"


def paged_decode(
    q_BHqD: Tensor,
    k_PNHD: Tensor,
    v_PNHD: Tensor,
    table_BL: Tensor,
    lengths_B: Tensor,
    *,
    scale: float | None = None,
) -> Tensor:
    pages = _checked(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B)
    _refuse_unless(len(pages) == q_BHqD.shape[0])
    if scale is None:
        scale = 1 / math.sqrt(q_BHqD.shape[2])
    reader = _Reader(k_PNHD, v_PNHD)
    out = torch.empty(q_BHqD.shape, dtype=q_BHqD.dtype, device=q_BHqD.device)
    for b, length in enumerate(lengths_B.tolist()):
        if length == 0:
            out[b] = 0
            continue
        full = length if length <= TILE else length // TILE * TILE
        o, _ = _one_query(reader, q_BHqD[b], k_PNHD.shape[2], pages[b], 0, full, scale)
        out[b] = o
    return out
