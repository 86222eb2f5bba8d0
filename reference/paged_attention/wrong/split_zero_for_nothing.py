# base = "solution"
# caught_by = "split_kv_decode.splits"
# cause = "wrong_value"
# also_fails = ["split_kv_decode.combinations"]

"""The log-sum-exp of no tokens is 0."""

# ruff: noqa: F821 - appended to solution.py

_before_split_zero_for_nothing = split_kv_decode


def split_kv_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, n_splits, scale=None):
    args = (q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B)
    out, lse = _before_split_zero_for_nothing(*args, n_splits=n_splits, scale=scale)
    return out, lse.masked_fill(lse == -math.inf, 0.0)
