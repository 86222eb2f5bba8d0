# base = "solution"
# caught_by = "flash_attention_backward.gradients"
# cause = "wrong_value"
# also_fails = ["flash_attention_backward.accumulation"]

"""Returns gradients in float32 whatever came."""

# ruff: noqa: F821 - appended to solution.py

_backward_like_inputs = flash_attention_backward


def flash_attention_backward(do_BHTD, qkv, forward, *, scale=None, causal=False):
    found = _backward_like_inputs(do_BHTD, qkv, forward, scale=scale, causal=causal)
    return tuple(x.float() for x in found)
