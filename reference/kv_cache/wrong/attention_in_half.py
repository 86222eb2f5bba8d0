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

"""Casts float32 inputs to float16 for speed."""

# ruff: noqa: F821 - appended to solution.py

_attend_exactly = decode_attention


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    _require_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B)
    q, k, v = (x.half() for x in (q_BHqTD, k_BHSD, v_BHSD))
    return _attend_exactly(q, k, v, lengths_B, scale=scale).to(q_BHqTD.dtype)
