# base = "solution"
# caught_by = "flash_attention.memory"
# cause = "too_much_memory"
# also_fails = []

"""Holds a T × S matrix for each head."""

# ruff: noqa: F821 - appended to solution.py

_attend_in_tiles = flash_attention


def flash_attention(q_BHTD, k_BGSD, v_BGSD, *, scale=None, causal=False):
    o, lse = _attend_in_tiles(q_BHTD, k_BGSD, v_BGSD, scale=scale, causal=causal)
    scores = torch.zeros((*q_BHTD.shape[:3], k_BGSD.shape[2]), device=o.device)
    return o, lse.copy_(lse.reshape(scores.shape[:3]))
