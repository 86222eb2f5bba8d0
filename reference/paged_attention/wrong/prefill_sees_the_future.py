# base = "solution"
# caught_by = "paged_prefill.whole_prompts"
# cause = "wrong_value"
# also_fails = [
#   "paged_prefill.combinations",
#   "paged_prefill.dead_pages",
#   "paged_prefill.later_chunks",
#   "paged_prefill.mixed_lengths",
# ]

"""Masks nothing: every query sees the whole sequence."""

# ruff: noqa: F821 - appended to solution.py

_prefill_checked = paged_prefill


def paged_prefill(q_THqD, starts_B1, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    args = (k_PNHD, v_PNHD, table_BL)
    out = _prefill_checked(q_THqD, starts_B1, *args, lengths_B, scale=scale)

    one = torch.tensor([0, 1])
    for b, (first, last) in enumerate(itertools.pairwise(starts_B1.tolist())):
        rest = (*args[:2], table_BL[b : b + 1], lengths_B[b : b + 1])
        for row in range(first, last):
            out[row] = _prefill_checked(q_THqD[row : row + 1], one, *rest, scale=scale)[0]
    return out
