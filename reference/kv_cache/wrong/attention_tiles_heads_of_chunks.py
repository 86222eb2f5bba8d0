# base = "solution"
# caught_by = "decode_attention.combinations"
# cause = "wrong_value"
# also_fails = []

"""Shares heads rightly for one query and tiles them for several."""

# ruff: noqa: F821 - appended to solution.py

_attend_right = decode_attention


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    _require_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B)
    group = q_BHqTD.shape[1] // k_BHSD.shape[1]
    if q_BHqTD.shape[2] > 1:
        k_BHSD, v_BHSD = (x.repeat(1, group, 1, 1) for x in (k_BHSD, v_BHSD))
    return _attend_right(q_BHqTD, k_BHSD, v_BHSD, lengths_B, scale=scale)
