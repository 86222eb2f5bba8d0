# base = "solution"
# caught_by = "paged_prefill.mixed_lengths"
# cause = "wrong_value"
# also_fails = ["paged_prefill.combinations"]

"""Takes a sequence without new tokens for the end of the batch."""

# ruff: noqa: F821 - appended to solution.py

_prefill_checked = paged_prefill


def paged_prefill(q_THqD, starts_B1, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    args = (k_PNHD, v_PNHD, table_BL)
    out = _prefill_checked(q_THqD, starts_B1, *args, lengths_B, scale=scale)

    counts = starts_B1.diff().tolist()
    if 0 in counts:
        out[int(starts_B1[counts.index(0)]) :] = 0.0
    return out
