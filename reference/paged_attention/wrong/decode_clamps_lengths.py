# base = "solution"
# caught_by = "paged_decode.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Lengths outside the table are cut to what it holds."""

# ruff: noqa: F821 - appended to solution.py

_before_decode_clamps_lengths = paged_decode


def paged_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    lengths_B = lengths_B.clamp(0, table_BL.shape[-1] * k_PNHD.shape[1])
    return _before_decode_clamps_lengths(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, scale=scale)
