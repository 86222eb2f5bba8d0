# base = "solution"
# caught_by = "flash_attention_backward.grouped_heads"
# cause = "wrong_value"
# also_fails = []

"""Gradients of a key/value head from the last query head that reads it, not from all."""

# ruff: noqa: F821 - appended to solution.py

_backward_of_groups = flash_attention_backward


def flash_attention_backward(do_BHTD, qkv, forward, *, scale=None, causal=False):
    (q, k, v), keywords = qkv, {"scale": scale, "causal": causal}
    found = _backward_of_groups(do_BHTD, qkv, forward, **keywords)
    group = q.shape[1] // k.shape[1]
    last = slice(group - 1, None, group)
    kept = tuple(x[:, last] for x in forward)
    _, dk, dv = _backward_of_groups(do_BHTD[:, last], (q[:, last], k, v), kept, **keywords)
    return found[0], dk, dv
