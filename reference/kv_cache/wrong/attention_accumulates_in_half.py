# base = "solution"
# caught_by = "decode_attention.single_query"
# cause = "wrong_value"
# also_fails = ["decode_attention.combinations"]

"""Rounds scores and weights to the dtype of half-precision inputs."""

# ruff: noqa: F821 - appended to solution.py

_attend_float32 = decode_attention


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    if q_BHqTD.dtype == torch.float32:
        return _attend_float32(q_BHqTD, k_BHSD, v_BHSD, lengths_B, scale=scale)
    _require_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B)
    scale = 1 / math.sqrt(q_BHqTD.shape[3]) if scale is None else scale
    group = q_BHqTD.shape[1] // k_BHSD.shape[1]
    keys, values = (x.repeat_interleave(group, dim=1) for x in (k_BHSD, v_BHSD))
    scores = (q_BHqTD @ keys.transpose(2, 3)) * scale
    return torch.softmax(scores, dim=-1) @ values
