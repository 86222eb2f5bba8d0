# base = "solution"
# caught_by = "decode_attention.combinations"
# cause = "wrong_value"
# also_fails = []

"""Lets each row end where the longest does, if there are several queries."""

# ruff: noqa: F821 - appended to solution.py

_attend_right = decode_attention


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    _require_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B)
    if q_BHqTD.shape[2] > 1:
        lengths_B = lengths_B.max().expand(len(lengths_B))
    return _attend_right(q_BHqTD, k_BHSD, v_BHSD, lengths_B, scale=scale)
