# base = "solution"
# caught_by = "split_kv_decode.splits"
# cause = "wrong_value"
# also_fails = ["split_kv_decode.combinations"]

"""Returns float32 for float16."""

# ruff: noqa: F821 - appended to solution.py

_before_split_returns_float32 = split_kv_decode


def split_kv_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, n_splits, scale=None):
    args = (q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B)
    out, lse = _before_split_returns_float32(*args, n_splits=n_splits, scale=scale)
    return out.float(), lse
