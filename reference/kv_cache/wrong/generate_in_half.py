# base = "solution"
# caught_by = "generate.greedy"
# cause = "wrong_value"
# also_fails = [
#   "generate.prompt_of_one",
#   "generate.long_prompt",
#   "generate.sampling",
#   "generate.end_of_sequence",
#   "generate.combinations",
# ]

"""Attends in bfloat16: the tokens are often right, the log-probabilities are not."""

# ruff: noqa: F821 - appended to solution.py

_attend_in_float32 = _attend


def _attend(q_BHqTD, k_BHSD, v_BHSD, seen_BTS, scale):
    q, k, v = (x.bfloat16() for x in (q_BHqTD, k_BHSD, v_BHSD))
    return _attend_in_float32(q, k, v, seen_BTS, scale).to(q_BHqTD.dtype)


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    _require_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B)
    seen = _causal(lengths_B, q_BHqTD.shape[2], k_BHSD.shape[2])
    scale = 1 / math.sqrt(q_BHqTD.shape[3]) if scale is None else scale
    return _attend_in_float32(q_BHqTD, k_BHSD, v_BHSD, seen, scale)
