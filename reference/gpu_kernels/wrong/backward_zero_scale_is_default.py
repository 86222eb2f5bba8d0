# base = "solution"
# caught_by = "flash_attention_backward.combinations"
# cause = "wrong_value"
# also_fails = []

"""Takes a scale of 0 for one that was not given."""

# ruff: noqa: F821 - appended to solution.py

_backward_of_any_scale = flash_attention_backward


def flash_attention_backward(do_BHTD, qkv, forward, *, scale=None, causal=False):
    return _backward_of_any_scale(do_BHTD, qkv, forward, scale=scale or None, causal=causal)
