# base = "solution"
# caught_by = "paged_decode.ragged_contexts"
# cause = "wrong_value"
# also_fails = [
#   "paged_decode.combinations",
#   "paged_decode.dead_slots",
#   "paged_decode.grouped_heads",
#   "paged_decode.page_sizes",
#   "paged_decode.table_tail",
# ]

"""Leaves the newest token out."""

# ruff: noqa: F821 - appended to solution.py

_decode_checked = paged_decode


def paged_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    _require_paged(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, rows=q_BHqD.shape[0])

    return _decode_checked(
        q_BHqD, k_PNHD, v_PNHD, table_BL, (lengths_B - 1).clamp(min=0), scale=scale
    )
