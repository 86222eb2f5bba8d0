# base = "solution"
# caught_by = "decode_attention.ragged_lengths"
# cause = "wrong_value"
# also_fails = ["decode_attention.combinations"]

"""Gives every row the length of the longest."""

# ruff: noqa: F821 - appended to solution.py

_attend_ragged = decode_attention


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    _require_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B)
    longest = lengths_B.max().expand(lengths_B.shape).clone()
    return _attend_ragged(q_BHqTD, k_BHSD, v_BHSD, longest, scale=scale)
