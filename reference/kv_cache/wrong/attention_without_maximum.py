# base = "solution"
# caught_by = "decode_attention.single_query"
# cause = "wrong_value"
# also_fails = ["decode_attention.combinations"]

"""Takes exp of the scores as they are, which overflows when they are large."""

# ruff: noqa: F821 - appended to solution.py

_attend_stably = _attend


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    _require_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B)
    (B, Hq, T, D), (H, S) = q_BHqTD.shape, k_BHSD.shape[1:3]
    seen = _causal(lengths_B, T, S)
    scale = 1 / math.sqrt(D) if scale is None else scale
    q = q_BHqTD.float().reshape(B, H, Hq // H, T, D)
    keys = k_BHSD.float()[:, :, None]
    weights = torch.exp((q @ keys.transpose(3, 4)) * scale)
    weights = weights.masked_fill(~seen[:, None, None], 0.0)
    weights = weights / weights.sum(dim=-1, keepdim=True).clamp(min=1e-30)
    values = v_BHSD.float().masked_fill(~seen.any(dim=1)[:, None, :, None], 0.0)[:, :, None]
    return (weights @ values).reshape(B, Hq, T, D).to(q_BHqTD.dtype)
