# base = "solution"
# caught_by = "split_kv_decode.merge"
# cause = "wrong_value"
# also_fails = ["split_kv_decode.merges"]

"""Exponentiates the log-sum-exps as they are."""

# ruff: noqa: F821 - appended to solution.py

_merge_checked = merge_splits


def merge_splits(o_CBHqD, lse_CBHq):

    _merge_checked(o_CBHqD, lse_CBHq)
    weights = lse_CBHq.exp()
    total = weights.sum(0)
    kept = o_CBHqD.masked_fill((lse_CBHq == -math.inf)[..., None], 0.0)
    out = (weights[..., None] * kept).sum(0) / total.masked_fill(total == 0.0, 1.0)[..., None]
    return out, total.log()
