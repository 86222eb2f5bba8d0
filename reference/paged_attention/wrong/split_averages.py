# base = "solution"
# caught_by = "split_kv_decode.merge"
# cause = "wrong_value"
# also_fails = ["split_kv_decode.empty_parts", "split_kv_decode.merges"]

"""Takes the mean of the parts."""

# ruff: noqa: F821 - appended to solution.py

_merge_checked = merge_splits


def merge_splits(o_CBHqD, lse_CBHq):

    _, lse = _merge_checked(o_CBHqD, lse_CBHq)
    full = (lse_CBHq > -math.inf)[..., None]
    return o_CBHqD.masked_fill(~full, 0.0).sum(0) / full.sum(0).clamp(min=1), lse
