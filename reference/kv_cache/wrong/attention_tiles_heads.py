# base = "solution"
# caught_by = "decode_attention.grouped_heads"
# cause = "wrong_value"
# also_fails = ["decode_attention.combinations"]

"""Query head h reads key/value head h % H: tiled, not repeated."""

# ruff: noqa: F821 - appended to solution.py

_attend_grouped = decode_attention


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    _require_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B)
    group = q_BHqTD.shape[1] // k_BHSD.shape[1]
    k, v = (x.repeat(1, group, 1, 1) for x in (k_BHSD, v_BHSD))
    return _attend_grouped(q_BHqTD, k, v, lengths_B, scale=scale)
