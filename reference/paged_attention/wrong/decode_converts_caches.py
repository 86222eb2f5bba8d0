# base = "solution"
# caught_by = "paged_decode.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Converts keys and values to the dtype of the query."""

# ruff: noqa: F821 - appended to solution.py

_before_decode_converts_caches = paged_decode


def paged_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    k_PNHD, v_PNHD = k_PNHD.to(q_BHqD.dtype), v_PNHD.to(q_BHqD.dtype)
    return _before_decode_converts_caches(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, scale=scale)
