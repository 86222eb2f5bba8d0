# base = "solution"
# caught_by = "flash_attention_backward.causal"
# cause = "wrong_value"
# also_fails = []

"""The mask of a later chunk begins at the top left: the last keys get no gradient."""

# ruff: noqa: F821 - appended to solution.py

_backward_bottom_right = flash_attention_backward


def flash_attention_backward(do_BHTD, qkv, forward, *, scale=None, causal=False):
    q, k, v = qkv
    count = q.shape[2]
    if not causal or k.shape[2] <= count:
        return _backward_bottom_right(do_BHTD, qkv, forward, scale=scale, causal=causal)
    first = (q, k[:, :, :count], v[:, :, :count])
    dq, *found = _backward_bottom_right(do_BHTD, first, forward, scale=scale, causal=True)
    dk, dv = torch.zeros(k.shape, dtype=k.dtype), torch.zeros(v.shape, dtype=v.dtype)
    dk[:, :, :count].copy_(found[0])
    dv[:, :, :count].copy_(found[1])
    return dq, dk, dv
