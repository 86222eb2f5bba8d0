# base = "solution"
# caught_by = "paged_prefill.later_chunks"
# cause = "wrong_value"
# also_fails = ["paged_prefill.combinations"]

"""Query i of a chunk sees the first i + 1 tokens of the sequence."""

# ruff: noqa: F821 - appended to solution.py

_prefill_checked = paged_prefill


def paged_prefill(q_THqD, starts_B1, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    args = (k_PNHD, v_PNHD, table_BL)
    out = _prefill_checked(q_THqD, starts_B1, *args, lengths_B, scale=scale)

    counts = starts_B1.diff()
    seen = torch.minimum(counts, lengths_B)
    first = _prefill_checked(q_THqD, starts_B1, *args, seen, scale=scale)
    rows = torch.repeat_interleave(counts < lengths_B, counts)
    return torch.where(rows[:, None, None], first, out)
