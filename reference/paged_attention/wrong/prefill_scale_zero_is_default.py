# base = "solution"
# caught_by = "paged_prefill.combinations"
# cause = "wrong_value"
# also_fails = []

"""Takes a scale of 0 for none."""

# ruff: noqa: F821 - appended to solution.py

_prefill_any_scale = paged_prefill


def paged_prefill(q_THqD, starts_B1, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    args = (q_THqD, starts_B1, k_PNHD, v_PNHD, table_BL, lengths_B)
    return _prefill_any_scale(*args, scale=scale or None)
