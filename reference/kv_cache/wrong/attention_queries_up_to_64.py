# base = "solution"
# caught_by = "decode_attention.combinations"
# cause = "wrong_value"
# also_fails = []

"""Forgets the queries behind the first 64."""

# ruff: noqa: F821 - appended to solution.py

_attend_right = decode_attention


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    _require_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B)
    out = _attend_right(q_BHqTD, k_BHSD, v_BHSD, lengths_B, scale=scale)
    out[:, :, 64:] = 0
    return out
