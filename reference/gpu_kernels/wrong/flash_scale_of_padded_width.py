# base = "solution"
# caught_by = "flash_attention.output"
# cause = "wrong_value"
# also_fails = []

"""Takes the width of the block for that of the head: 1/√128 for D = 80."""

# ruff: noqa: F821 - appended to solution.py

_attend_by_width = flash_attention


def flash_attention(q_BHTD, k_BGSD, v_BGSD, *, scale=None, causal=False):
    if scale is None:
        scale = max(16, triton.next_power_of_2(q_BHTD.shape[-1])) ** -0.5
    return _attend_by_width(q_BHTD, k_BGSD, v_BGSD, scale=scale, causal=causal)
