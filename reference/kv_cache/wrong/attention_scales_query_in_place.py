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

"""Multiplies the scale into the caller's query."""

# ruff: noqa: F821 - appended to solution.py

_attend_purely = decode_attention


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    _require_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B)
    q_BHqTD *= 1 / math.sqrt(q_BHqTD.shape[3]) if scale is None else scale
    return _attend_purely(q_BHqTD, k_BHSD, v_BHSD, lengths_B, scale=1.0)
