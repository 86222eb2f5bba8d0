# base = "solution"
# caught_by = "split_kv_decode.splits"
# cause = "wrong_value"
# also_fails = []

"""Returns the log-sum-exp in the dtype of the query."""

# ruff: noqa: F821 - appended to solution.py

_before_split_lse_in_half = split_kv_decode


def split_kv_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, n_splits, scale=None):
    args = (q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B)
    out, lse = _before_split_lse_in_half(*args, n_splits=n_splits, scale=scale)
    return out, lse.to(q_BHqD.dtype)
