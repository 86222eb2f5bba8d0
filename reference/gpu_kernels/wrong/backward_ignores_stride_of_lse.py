# base = "solution"
# caught_by = "flash_attention_backward.combinations"
# cause = "wrong_value"
# also_fails = []

"""Reads the log-sum-exp as if it were dense."""

# ruff: noqa: F821 - appended to solution.py

_backward_of_dense = flash_attention_backward


def flash_attention_backward(do_BHTD, qkv, forward, *, scale=None, causal=False):
    o, lse = forward
    if lse.dim() == 3 and lse.dtype == torch.float32 and lse.shape == do_BHTD.shape[:3]:
        _, H, T = lse.shape
        lse = lse.as_strided(lse.shape, (H * T, T, 1))
    return _backward_of_dense(do_BHTD, qkv, (o, lse), scale=scale, causal=causal)
