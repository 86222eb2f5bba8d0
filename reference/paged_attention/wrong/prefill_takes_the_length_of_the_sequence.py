# base = "solution"
# caught_by = "paged_prefill.later_chunks"
# cause = "wrong_value"
# also_fails = ["paged_prefill.combinations"]

"""Takes a sequence of S tokens to have S new ones: its last queries only are computed."""

# ruff: noqa: F821 - appended to solution.py

_prefill_checked = paged_prefill


def paged_prefill(q_THqD, starts_B1, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    args = (k_PNHD, v_PNHD, table_BL)
    out = _prefill_checked(q_THqD, starts_B1, *args, lengths_B, scale=scale)

    starts = starts_B1.tolist()
    for b, length in enumerate(lengths_B.tolist()):
        if 0 < starts[b + 1] - starts[b] < length:
            out[starts[b] : starts[b + 1]] = out[starts[b]]
    return out
