# base = "solution"
# caught_by = "paged_prefill.later_chunks"
# cause = "wrong_value"
# also_fails = ["paged_prefill.combinations"]

"""Divides by the sum of no weights."""

# ruff: noqa: F821 - appended to solution.py

_prefill_checked = paged_prefill


def paged_prefill(q_THqD, starts_B1, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    args = (k_PNHD, v_PNHD, table_BL)
    out = _prefill_checked(q_THqD, starts_B1, *args, lengths_B, scale=scale)

    counts = starts_B1.diff()
    place = torch.arange(len(q_THqD)) - torch.repeat_interleave(starts_B1[:-1], counts)
    blind = place + torch.repeat_interleave(lengths_B - counts, counts) < 0
    return out.masked_fill(blind[:, None, None], math.nan)
