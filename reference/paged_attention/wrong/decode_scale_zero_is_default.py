# base = "solution"
# caught_by = "paged_decode.combinations"
# cause = "wrong_value"
# also_fails = []

"""Takes a scale of 0 for none."""

# ruff: noqa: F821 - appended to solution.py

_decode_any_scale = paged_decode


def paged_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    return _decode_any_scale(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, scale=scale or None)
