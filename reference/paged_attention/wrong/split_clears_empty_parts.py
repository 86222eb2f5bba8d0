# base = "solution"
# caught_by = "split_kv_decode.empty_parts"
# cause = "wrong_value"
# also_fails = ["split_kv_decode.merges"]

"""Clears empty parts in the tensor that it was given."""

# ruff: noqa: F821 - appended to solution.py

_before_split_clears_empty_parts = merge_splits


def merge_splits(o_CBHqD, lse_CBHq):
    if o_CBHqD.dim() == 4 and lse_CBHq.shape == o_CBHqD.shape[:3]:
        o_CBHqD[lse_CBHq == -math.inf] = 0.0
    return _before_split_clears_empty_parts(o_CBHqD, lse_CBHq)
