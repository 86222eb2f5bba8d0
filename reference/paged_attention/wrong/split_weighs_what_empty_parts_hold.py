# base = "solution"
# caught_by = "split_kv_decode.empty_parts"
# cause = "wrong_value"
# also_fails = ["split_kv_decode.merges"]

"""Multiplies what an empty part holds by 0, and 0 times NaN is NaN."""

# ruff: noqa: F821 - appended to solution.py

_merge_checked = merge_splits


def merge_splits(o_CBHqD, lse_CBHq):

    out, lse = _merge_checked(o_CBHqD, lse_CBHq)
    return out + (0.0 * o_CBHqD).sum(dim=0), lse
