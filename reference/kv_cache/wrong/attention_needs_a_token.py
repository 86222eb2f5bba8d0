# base = "solution"
# caught_by = "decode_attention.ragged_lengths"
# cause = "crash"
# also_fails = ["decode_attention.combinations"]

"""Cannot attend while nothing is stored in any row."""

# ruff: noqa: F821 - appended to solution.py

_attend_nothing = decode_attention


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    _require(k_BHSD.shape[2] > 0, "nothing is stored")
    return _attend_nothing(q_BHqTD, k_BHSD, v_BHSD, lengths_B, scale=scale)
