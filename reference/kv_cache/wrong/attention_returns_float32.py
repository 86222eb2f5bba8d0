# base = "solution"
# caught_by = "decode_attention.single_query"
# cause = "wrong_value"
# also_fails = ["decode_attention.combinations"]

"""Returns what it has accumulated, in float32, for queries of any dtype."""

# ruff: noqa: F821 - appended to solution.py

_attend_rounded = decode_attention


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    return _attend_rounded(q_BHqTD, k_BHSD, v_BHSD, lengths_B, scale=scale).float()
