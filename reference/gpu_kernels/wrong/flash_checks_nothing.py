# base = "solution"
# caught_by = "flash_attention.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Answers something where arguments do not fit."""

# ruff: noqa: F821 - appended to solution.py

_flash_attention_strictly = flash_attention


def flash_attention(q_BHTD, k_BGSD, v_BGSD, *, scale=None, causal=False):
    try:
        return _flash_attention_strictly(q_BHTD, k_BGSD, v_BGSD, scale=scale, causal=causal)
    except ValueError:
        return q_BHTD.clone(), q_BHTD.clone()
