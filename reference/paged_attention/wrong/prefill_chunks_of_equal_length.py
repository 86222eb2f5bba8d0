# base = "solution"
# caught_by = "paged_prefill.mixed_lengths"
# cause = "wrong_value"
# also_fails = []

"""Cuts the packed queries into as many equal chunks as there are sequences."""

# ruff: noqa: F821 - appended to solution.py

_prefill_checked = paged_prefill


def paged_prefill(q_THqD, starts_B1, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    args = (k_PNHD, v_PNHD, table_BL)
    out = _prefill_checked(q_THqD, starts_B1, *args, lengths_B, scale=scale)

    rows, counts = len(lengths_B), starts_B1.diff()
    if rows and bool((counts > 1).sum() > 2):
        even = torch.tensor([len(q_THqD) * b // rows for b in range(rows + 1)])
        return _prefill_checked(q_THqD, even, *args, lengths_B, scale=scale)
    return out
