# base = "solution"
# caught_by = "flash_attention.scores"
# cause = "wrong_value"
# also_fails = []

"""Takes a negative scale for its magnitude."""

# ruff: noqa: F821 - appended to solution.py

_flash_of_any_sign = flash_attention


def flash_attention(q_BHTD, k_BGSD, v_BGSD, *, scale=None, causal=False):
    scale = scale if scale is None else abs(scale)
    return _flash_of_any_sign(q_BHTD, k_BGSD, v_BGSD, scale=scale, causal=causal)
