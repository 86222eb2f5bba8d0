# base = "solution"
# caught_by = "paged_decode.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Takes tables and lengths of any dtype."""

# ruff: noqa: F821 - appended to solution.py

_before_decode_takes_floats = paged_decode


def paged_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    table_BL, lengths_B = table_BL.long(), lengths_B.long()
    return _before_decode_takes_floats(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, scale=scale)
