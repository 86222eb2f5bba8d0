# base = "solution"
# caught_by = "decode_attention.combinations"
# cause = "wrong_value"
# also_fails = []

"""Multiplies in the dtype of q, if there are several queries."""

# ruff: noqa: F821 - appended to solution.py

_attend_right = decode_attention


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    _require_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B)
    if q_BHqTD.shape[2] == 1 or q_BHqTD.dtype == torch.float32:
        return _attend_right(q_BHqTD, k_BHSD, v_BHSD, lengths_B, scale=scale)
    (B, Hq, T, D), (H, S) = q_BHqTD.shape, k_BHSD.shape[1:3]
    seen = _causal(lengths_B, T, S)
    values = v_BHSD.masked_fill(~seen.any(dim=1)[:, None, :, None], 0.0)
    q = q_BHqTD.reshape(B, H, Hq // H, T, D)
    scores = (q @ k_BHSD[:, :, None].transpose(3, 4)) * (
        1 / math.sqrt(D) if scale is None else scale
    )
    scores = scores.masked_fill(~seen[:, None, None], -math.inf)
    weights = torch.softmax(scores, dim=-1).masked_fill(~seen[:, None, None], 0.0)
    return (weights @ values[:, :, None]).reshape(B, Hq, T, D)
