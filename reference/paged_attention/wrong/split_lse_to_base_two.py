# base = "solution"
# caught_by = "split_kv_decode.splits"
# cause = "wrong_value"
# also_fails = ["split_kv_decode.combinations"]

"""Returns the logarithm to base 2, as kernels keep it."""

# ruff: noqa: F821 - appended to solution.py

_split_checked = split_kv_decode


def split_kv_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, n_splits, scale=None):

    args = (q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B)
    out, lse = _split_checked(*args, n_splits=n_splits, scale=scale)
    return out, lse / math.log(2)
