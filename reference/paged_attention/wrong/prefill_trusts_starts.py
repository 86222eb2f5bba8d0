# base = "solution"
# caught_by = "paged_prefill.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Sorts the starts and pulls their ends to where they should be."""

# ruff: noqa: F821 - appended to solution.py

_prefill_checked = paged_prefill


def paged_prefill(q_THqD, starts_B1, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    if starts_B1.dtype == torch.int64 and len(starts_B1) > 1:
        starts_B1 = starts_B1.clamp(0, len(q_THqD)).sort().values
        starts_B1[0], starts_B1[-1] = 0, len(q_THqD)
    args = (k_PNHD, v_PNHD, table_BL, lengths_B)
    return _prefill_checked(q_THqD, starts_B1, *args, scale=scale)
