# base = "solution"
# caught_by = "flash_attention_backward.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Answers something where arguments do not fit."""

# ruff: noqa: F821 - appended to solution.py

_flash_attention_backward_strictly = flash_attention_backward


def flash_attention_backward(do_BHTD, qkv, forward, *, scale=None, causal=False):
    try:
        return _flash_attention_backward_strictly(do_BHTD, qkv, forward, scale=scale, causal=causal)
    except ValueError:
        return tuple(x.clone() for x in qkv)
