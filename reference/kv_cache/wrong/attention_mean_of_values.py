# base = "solution"
# caught_by = "decode_attention.single_query"
# cause = "wrong_value"
# also_fails = [
#   "decode_attention.grouped_heads",
#   "decode_attention.ragged_lengths",
#   "decode_attention.chunk_mask",
#   "decode_attention.dead_slots",
#   "decode_attention.combinations",
# ]

"""Returns the mean of the valid values: what attention gives on average."""

# ruff: noqa: F821 - appended to solution.py

_attend_weighted = decode_attention


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    return _attend_weighted(q_BHqTD, k_BHSD, v_BHSD, lengths_B, scale=0.0)
