# base = "solution"
# caught_by = "decode_attention.combinations"
# cause = "wrong_value"
# also_fails = []

"""Answers in float32 if some row is empty, whatever the dtype of q."""

# ruff: noqa: F821 - appended to solution.py

_attend_right = decode_attention


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    _require_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B)
    out = _attend_right(q_BHqTD, k_BHSD, v_BHSD, lengths_B, scale=scale)
    return out.float() if bool((lengths_B == 0).any()) else out
