# base = "solution"
# caught_by = "decode_attention.combinations"
# cause = "wrong_value"
# also_fails = []

"""Scores with the first 64 columns only."""

# ruff: noqa: F821 - appended to solution.py

_attend_right = decode_attention


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    _require_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B)
    scale = 1 / math.sqrt(q_BHqTD.shape[3]) if scale is None else scale
    q = q_BHqTD.clone()
    q[..., 64:] = 0
    return _attend_right(q, k_BHSD, v_BHSD, lengths_B, scale=scale)
