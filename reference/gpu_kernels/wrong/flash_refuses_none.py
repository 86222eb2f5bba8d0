# base = "solution"
# caught_by = "flash_attention.combinations"
# cause = "crash"
# also_fails = []

"""Takes a scale that is left out, and none that is None."""

# ruff: noqa: F821 - appended to solution.py

_flash_without_scale = flash_attention


def flash_attention(q_BHTD, k_BGSD, v_BGSD, *, scale=..., causal=False):
    require(scale is not None, "scale: expected a number, got None")
    scale = None if scale is ... else scale
    return _flash_without_scale(q_BHTD, k_BGSD, v_BGSD, scale=scale, causal=causal)
