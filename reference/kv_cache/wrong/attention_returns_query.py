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

"""Returns a copy of its input, which has the right shape and dtype."""

# ruff: noqa: F821 - appended to solution.py


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    _require_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B)
    return q_BHqTD.clone()
