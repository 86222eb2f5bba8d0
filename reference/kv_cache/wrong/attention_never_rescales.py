# base = "solution"
# caught_by = "decode_attention.combinations"
# cause = "wrong_value"
# also_fails = []

"""An online softmax over blocks of 64 keys that keeps old sums when the maximum grows."""

# ruff: noqa: F821 - appended to solution.py


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    _require_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B)
    (B, Hq, T, D), (H, S) = q_BHqTD.shape, k_BHSD.shape[1:3]
    seen = _causal(lengths_B, T, S)[:, None, None]
    values = v_BHSD.float().masked_fill(~(seen[:, 0, 0].any(dim=1))[:, None, :, None], 0.0)
    q = q_BHqTD.float().reshape(B, H, Hq // H, T, D) * (
        1 / math.sqrt(D) if scale is None else scale
    )
    peak = torch.full((B, H, Hq // H, T, 1), -1e30)
    total, out = torch.zeros_like(peak), torch.zeros_like(q)
    for start in range(0, S, 64):
        part = slice(start, start + 64)
        scores = q @ k_BHSD[:, :, None, part].float().transpose(3, 4)
        scores = scores.masked_fill(~seen[..., part], -math.inf)
        peak = torch.maximum(peak, scores.amax(dim=-1, keepdim=True))
        weights = torch.exp(scores - peak)
        total = total + weights.sum(dim=-1, keepdim=True)
        out = out + weights @ values[:, :, None, part]
    out = torch.where(total > 0, out / total, 0.0)
    return out.reshape(B, Hq, T, D).to(q_BHqTD.dtype)
