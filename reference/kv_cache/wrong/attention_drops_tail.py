# base = "solution"
# caught_by = "decode_attention.combinations"
# cause = "wrong_value"
# also_fails = []

"""Drops the keys behind the last full block of 64, if there is one."""

# ruff: noqa: F821 - appended to solution.py

_attend_right = decode_attention


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    _require_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B)
    full = k_BHSD.shape[2] // 64 * 64 or k_BHSD.shape[2]
    lost = (lengths_B - full).clamp(min=0)
    k, v = k_BHSD[:, :, :full], v_BHSD[:, :, :full]
    return _attend_right(q_BHqTD, k, v, lengths_B - lost, scale=scale)
