# base = "solution"
# caught_by = "flash_attention_backward.memory"
# cause = "too_much_memory"
# also_fails = []

"""Holds a T × S matrix for each head."""

# ruff: noqa: F821 - appended to solution.py

_backward_in_tiles = flash_attention_backward


def flash_attention_backward(do_BHTD, qkv, forward, *, scale=None, causal=False):
    dq, dk, dv = _backward_in_tiles(do_BHTD, qkv, forward, scale=scale, causal=causal)
    scores = torch.zeros((*dq.shape[:3], dk.shape[2]), device=dq.device)
    return dq.reshape(*scores.shape[:3], -1), dk, dv
