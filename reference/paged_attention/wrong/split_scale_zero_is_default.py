# base = "solution"
# caught_by = "split_kv_decode.combinations"
# cause = "wrong_value"
# also_fails = []

"""Takes a scale of 0 for none."""

# ruff: noqa: F821 - appended to solution.py

_split_any_scale = split_kv_decode


def split_kv_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, n_splits, scale=None):
    args = (q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B)
    return _split_any_scale(*args, n_splits=n_splits, scale=scale or None)
