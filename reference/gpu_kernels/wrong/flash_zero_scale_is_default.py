# base = "solution"
# caught_by = "flash_attention.scores"
# cause = "wrong_value"
# also_fails = []

"""Takes a scale of 0 for one that was not given."""

# ruff: noqa: F821 - appended to solution.py

_flash_of_any_scale = flash_attention


def flash_attention(q_BHTD, k_BGSD, v_BGSD, *, scale=None, causal=False):
    return _flash_of_any_scale(q_BHTD, k_BGSD, v_BGSD, scale=scale or None, causal=causal)
