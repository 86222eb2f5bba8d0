# base = "solution"
# caught_by = "split_kv_decode.split_memory"
# cause = "too_much_memory"
# also_fails = []

"""Right, but gathers the whole sequence and attends to all of it at once."""

# ruff: noqa: F821 - appended to solution.py

_split_checked = split_kv_decode


def split_kv_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, n_splits, scale=None):

    args = (q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B)
    _require(n_splits >= 1, "no splits")
    return _split_checked(*args, n_splits=1, scale=scale)
