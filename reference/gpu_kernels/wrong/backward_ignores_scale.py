# base = "solution"
# caught_by = "flash_attention_backward.scale"
# cause = "wrong_value"
# also_fails = []

"""Always scales by 1/√D."""

# ruff: noqa: F821 - appended to solution.py

_backward_by_scale = flash_attention_backward


def flash_attention_backward(do_BHTD, qkv, forward, *, scale=None, causal=False):
    return _backward_by_scale(do_BHTD, qkv, forward, causal=causal)
