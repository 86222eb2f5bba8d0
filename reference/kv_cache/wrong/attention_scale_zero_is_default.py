# base = "solution"
# caught_by = "decode_attention.combinations"
# cause = "wrong_value"
# also_fails = []

"""Takes a scale of 0 for one that is not given."""

# ruff: noqa: F821 - appended to solution.py

_attend_right = decode_attention


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    _require_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B)
    return _attend_right(q_BHqTD, k_BHSD, v_BHSD, lengths_B, scale=scale or None)
