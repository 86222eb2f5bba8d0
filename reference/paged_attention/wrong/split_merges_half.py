# base = "solution"
# caught_by = "split_kv_decode.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Merges parts of any dtype."""

# ruff: noqa: F821 - appended to solution.py

_before_split_merges_half = merge_splits


def merge_splits(o_CBHqD, lse_CBHq):
    return _before_split_merges_half(o_CBHqD.float(), lse_CBHq.float())
