# base = "solution"
# caught_by = "split_kv_decode.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Takes 0 splits, or fewer, for one."""

# ruff: noqa: F821 - appended to solution.py

_split_checked = split_kv_decode


def split_kv_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, n_splits, scale=None):

    args = (q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B)
    return _split_checked(*args, n_splits=max(1, n_splits), scale=scale)
