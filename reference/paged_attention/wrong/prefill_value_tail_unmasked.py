# base = "solution"
# caught_by = "paged_prefill.dead_pages"
# cause = "wrong_value"
# also_fails = ["paged_prefill.combinations"]

"""Gives the rest of the last page a weight of 0, and 0 times NaN is NaN."""

# ruff: noqa: F821 - appended to solution.py

_prefill_checked = paged_prefill


def paged_prefill(q_THqD, starts_B1, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    args = (k_PNHD, v_PNHD, table_BL)
    out = _prefill_checked(q_THqD, starts_B1, *args, lengths_B, scale=scale)

    N, starts = k_PNHD.shape[1], starts_B1.tolist()
    for b, length in enumerate(lengths_B.tolist()):
        if length % N:
            dead = v_PNHD[table_BL[b, length // N], length % N :].sum()
            out[starts[b] : starts[b + 1]] += 0.0 * dead
    return out
