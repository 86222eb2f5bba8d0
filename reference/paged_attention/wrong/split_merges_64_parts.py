# base = "solution"
# caught_by = "split_kv_decode.merges"
# cause = "wrong_value"
# also_fails = []

"""Merges the first 64 parts, as a program with a block of 64 and without a loop."""

# ruff: noqa: F821 - appended to solution.py

_merge_all_parts = merge_splits


def merge_splits(o_CBHqD, lse_CBHq):
    if o_CBHqD.dim() != 4 or lse_CBHq.dim() != 3 or o_CBHqD.shape[0] != lse_CBHq.shape[0]:
        return _merge_all_parts(o_CBHqD, lse_CBHq)
    return _merge_all_parts(o_CBHqD[:64], lse_CBHq[:64])
