# base = "solution"
# caught_by = "paged_decode.dead_slots"
# cause = "wrong_value"
# also_fails = ["paged_decode.combinations"]

"""Removes dead scores by multiplying with 0, which NaN survives."""

# ruff: noqa: F821 - appended to solution.py

_decode_checked = paged_decode


def paged_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    _require_paged(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, rows=q_BHqD.shape[0])

    out = _decode_checked(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, scale=scale)
    for b, length in enumerate(lengths_B.tolist()):
        pages = table_BL[b, : _blocks_for(length, k_PNHD.shape[1])]
        out[b] += 0.0 * k_PNHD[pages].sum()
    return out
