# base = "solution"
# caught_by = "paged_decode.table_tail"
# cause = "crash"
# also_fails = ["paged_decode.combinations"]

"""Gathers every entry of a row of the table before it looks at the length."""

# ruff: noqa: F821 - appended to solution.py

_decode_checked = paged_decode


def paged_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    _require_paged(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, rows=q_BHqD.shape[0])

    k_PNHD[table_BL], v_PNHD[table_BL]
    return _decode_checked(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, scale=scale)
