# base = "solution"
# caught_by = "flash_attention.output"
# cause = "wrong_value"
# also_fails = ["flash_attention.accumulation"]

"""Returns the output in float32 whatever came."""

# ruff: noqa: F821 - appended to solution.py

_flash_like_q = flash_attention


def flash_attention(q_BHTD, k_BGSD, v_BGSD, *, scale=None, causal=False):
    out, lse = _flash_like_q(q_BHTD, k_BGSD, v_BGSD, scale=scale, causal=causal)
    return out.float(), lse
