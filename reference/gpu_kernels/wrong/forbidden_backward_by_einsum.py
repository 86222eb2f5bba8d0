# base = "solution"
# caught_by = "flash_attention_backward.gradients"
# cause = "forbidden"
# also_fails = [
#   "flash_attention_backward.causal",
#   "flash_attention_backward.sees_nothing",
#   "flash_attention_backward.grouped_heads",
#   "flash_attention_backward.scale",
#   "flash_attention_backward.accumulation",
# ]

"""dq by torch's einsum, dk and dv by kernels."""

# ruff: noqa: F821 - appended to solution.py

_backward_by_kernel = flash_attention_backward


def flash_attention_backward(do_BHTD, qkv, forward, *, scale=None, causal=False):
    dq, dk, dv = _backward_by_kernel(do_BHTD, qkv, forward, scale=scale, causal=causal)
    (q, k, v), (o, lse) = qkv, forward
    factor, (T, S) = q.shape[-1] ** -0.5 if scale is None else scale, (q.shape[2], k.shape[2])
    k, v = (x.float().repeat_interleave(q.shape[1] // k.shape[1], dim=1) for x in (k, v))
    s = factor * torch.einsum("bhtd,bhsd->bhts", q.float(), k) - lse[..., None]
    seen = torch.ones(T, S, dtype=torch.bool).tril(S - T if causal else S)
    p = torch.where(seen, torch.exp(s), 0.0)
    dp = torch.einsum("bhtd,bhsd->bhts", do_BHTD.float(), v)
    ds = p * (dp - (do_BHTD.float() * o.float()).sum(dim=-1, keepdim=True))
    return (factor * torch.einsum("bhts,bhsd->bhtd", ds, k)).to(dq.dtype), dk, dv
