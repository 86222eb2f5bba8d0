# base = "solution"
# caught_by = "split_kv_decode.splits"
# cause = "crash"
# also_fails = ["split_kv_decode.combinations"]

"""Refuses more parts than there are tokens."""

# ruff: noqa: F821 - appended to solution.py

_before_split_refuses_more_parts_than_tokens = split_kv_decode


def split_kv_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, n_splits, scale=None):
    args = (q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B)
    _require(n_splits <= max(1, int(lengths_B.max())), "more parts than tokens")
    return _before_split_refuses_more_parts_than_tokens(*args, n_splits=n_splits, scale=scale)
