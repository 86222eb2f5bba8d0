# base = "solution"
# caught_by = "decode_attention.ragged_lengths"
# cause = "wrong_value"
# also_fails = ["decode_attention.combinations"]

"""A softmax over nothing: rows without tokens come back as NaN."""

# ruff: noqa: F821 - appended to solution.py

_attend_rows = decode_attention


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    out = _attend_rows(q_BHqTD, k_BHSD, v_BHSD, lengths_B, scale=scale)
    return out.masked_fill((lengths_B == 0)[:, None, None, None], math.nan)
