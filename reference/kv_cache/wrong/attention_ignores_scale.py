# base = "solution"
# caught_by = "decode_attention.single_query"
# cause = "wrong_value"
# also_fails = ["decode_attention.combinations"]

"""Always divides by the square root of the head dimension, whatever scale is given."""

# ruff: noqa: F821 - appended to solution.py

_attend_scaled = decode_attention


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    return _attend_scaled(q_BHqTD, k_BHSD, v_BHSD, lengths_B)
