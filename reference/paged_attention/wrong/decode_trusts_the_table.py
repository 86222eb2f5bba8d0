# base = "solution"
# caught_by = "paged_decode.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Clamps page numbers into the pool instead of refusing them."""

# ruff: noqa: F821 - appended to solution.py

_decode_checked = paged_decode


def paged_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    table_BL = table_BL if table_BL.is_floating_point() else table_BL.clamp(0, len(k_PNHD) - 1)
    return _decode_checked(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, scale=scale)
