# base = "solution"
# caught_by = "flash_attention_backward.combinations"
# cause = "wrong_value"
# also_fails = []

"""Reads the log-sum-exp of the wrong row of the batch where there are several key/value heads."""

# ruff: noqa: F821 - appended to solution.py

_backward_of_batches = flash_attention_backward


def flash_attention_backward(do_BHTD, qkv, forward, *, scale=None, causal=False):
    (q, k, _), (o, lse) = qkv, forward
    found = _backward_of_batches(do_BHTD, qkv, forward, scale=scale, causal=causal)
    if q.shape[0] == 1 or k.shape[1] == 1:
        return found
    wrong = torch.cat([lse[:1], lse[:-1]])
    return _backward_of_batches(do_BHTD, qkv, (o, wrong), scale=scale, causal=causal)
