# base = "solution"
# caught_by = "decode_attention.dead_slots"
# cause = "wrong_value"
# also_fails = ["decode_attention.combinations"]

"""Masks the scores only: a weight of 0 times NaN behind the valid values is NaN."""

# ruff: noqa: F821 - appended to solution.py


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    _require_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B)
    (B, Hq, T, D), (H, S) = q_BHqTD.shape, k_BHSD.shape[1:3]
    if S == 0:
        return torch.zeros_like(q_BHqTD)
    seen = _causal(lengths_B, T, S)[:, None, None]
    scale = 1 / math.sqrt(D) if scale is None else scale
    q = q_BHqTD.float().reshape(B, H, Hq // H, T, D)
    scores = (q @ k_BHSD.float()[:, :, None].transpose(3, 4)) * scale
    weights = torch.softmax(scores.masked_fill(~seen, -1e30), dim=-1) * seen
    out = weights @ v_BHSD.float()[:, :, None]
    return out.reshape(B, Hq, T, D).to(q_BHqTD.dtype)
