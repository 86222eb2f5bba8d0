# base = "solution"
# caught_by = "split_kv_decode.splits"
# cause = "wrong_value"
# also_fails = ["split_kv_decode.combinations"]

"""Makes parts of length // n_splits tokens and forgets the rest."""

# ruff: noqa: F821 - appended to solution.py

_split_checked = split_kv_decode


def split_kv_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, n_splits, scale=None):

    args = (q_BHqD, k_PNHD, v_PNHD, table_BL)
    _split_checked(*args, lengths_B, n_splits=n_splits, scale=scale)
    lengths_B = lengths_B // n_splits * n_splits
    return _split_checked(*args, lengths_B, n_splits=n_splits, scale=scale)
