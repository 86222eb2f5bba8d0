# base = "solution"
# caught_by = "flash_attention.output"
# cause = "wrong_value"
# also_fails = []

"""Returns the log-sum-exp in the dtype of q."""

# ruff: noqa: F821 - appended to solution.py

_flash_sum_in_single = flash_attention


def flash_attention(q_BHTD, k_BGSD, v_BGSD, *, scale=None, causal=False):
    out, lse = _flash_sum_in_single(q_BHTD, k_BGSD, v_BGSD, scale=scale, causal=causal)
    return out, lse.to(q_BHTD.dtype)
