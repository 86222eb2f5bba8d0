# base = "solution"
# caught_by = "flash_attention.scores"
# cause = "wrong_value"
# also_fails = []

"""Always scales by 1/√D."""

# ruff: noqa: F821 - appended to solution.py

_attend_scaled = flash_attention


def flash_attention(q_BHTD, k_BGSD, v_BGSD, *, scale=None, causal=False):
    return _attend_scaled(q_BHTD, k_BGSD, v_BGSD, causal=causal)
