# base = "solution"
# caught_by = "decode_attention.combinations"
# cause = "wrong_value"
# also_fails = []

"""Reads the lengths as if they lay side by side."""

# ruff: noqa: F821 - appended to solution.py

_attend_right = decode_attention


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    _require_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B)
    lengths_B = lengths_B.as_strided(lengths_B.shape, (1,)).clamp(0, k_BHSD.shape[2])
    return _attend_right(q_BHqTD, k_BHSD, v_BHSD, lengths_B, scale=scale)
