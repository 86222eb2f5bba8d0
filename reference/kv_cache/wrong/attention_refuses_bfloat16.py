# base = "solution"
# caught_by = "decode_attention.single_query"
# cause = "crash"
# also_fails = ["decode_attention.combinations"]

"""Knows float32 and float16 only."""

# ruff: noqa: F821 - appended to solution.py

_attend_any_dtype = decode_attention


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    _require(q_BHqTD.dtype != torch.bfloat16, "bfloat16")
    return _attend_any_dtype(q_BHqTD, k_BHSD, v_BHSD, lengths_B, scale=scale)
