# base = "solution"
# caught_by = "flash_attention.output"
# cause = "forbidden"
# also_fails = [
#   "flash_attention.causal",
#   "flash_attention.sees_nothing",
#   "flash_attention.grouped_heads",
#   "flash_attention.scores",
#   "flash_attention.accumulation",
# ]

"""torch's own attention for the output, a kernel for the log-sum-exp."""

# ruff: noqa: F821 - appended to solution.py

_attend_by_kernel = flash_attention


def flash_attention(q_BHTD, k_BGSD, v_BGSD, *, scale=None, causal=False):
    o, lse = _attend_by_kernel(q_BHTD, k_BGSD, v_BGSD, scale=scale, causal=causal)
    (T, S), group = (q_BHTD.shape[2], k_BGSD.shape[2]), q_BHTD.shape[1] // k_BGSD.shape[1]
    seen = torch.ones(T, S, dtype=torch.bool).tril(S - T) if causal else None
    k, v = (x.repeat_interleave(group, dim=1) for x in (k_BGSD, v_BGSD))
    attend = torch.nn.functional.scaled_dot_product_attention
    out = attend(q_BHTD, k, v, attn_mask=seen, scale=scale)
    return torch.where(lse[..., None] > -torch.inf, out, o), lse
