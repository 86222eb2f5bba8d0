# base = "solution"
# caught_by = "paged_decode.page_sizes"
# cause = "wrong_value"
# also_fails = [
#   "paged_decode.combinations",
#   "paged_decode.dead_slots",
#   "paged_decode.grouped_heads",
#   "paged_decode.ragged_contexts",
#   "paged_decode.table_tail",
# ]

"""Looks token t up in page t // 16."""

# ruff: noqa: F821 - appended to solution.py

_decode_checked = paged_decode


def paged_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    _require_paged(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, rows=q_BHqD.shape[0])

    N = k_PNHD.shape[1]
    if N == 16:
        return _decode_checked(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, scale=scale)
    places = torch.arange(int(lengths_B.max()) if lengths_B.numel() else 0)
    slots_BS = table_BL[:, (places // 16).clamp(max=table_BL.shape[1] - 1)] * N + places % 16
    flat = [x.flatten(0, 1)[slots_BS.clamp(0, x.shape[0] * N - 1)] for x in (k_PNHD, v_PNHD)]
    k, v = (x.flatten(0, 1)[:, None] for x in flat)
    rows = torch.arange(slots_BS.numel()).view(slots_BS.shape)
    return _decode_checked(q_BHqD, k, v, rows, lengths_B, scale=scale)
