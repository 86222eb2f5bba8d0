# base = "solution"
# caught_by = "split_kv_decode.empty_parts"
# cause = "wrong_value"
# also_fails = ["split_kv_decode.merges"]

"""Subtracts a maximum of -inf from -inf where all parts are empty."""

# ruff: noqa: F821 - appended to solution.py

_merge_checked = merge_splits


def merge_splits(o_CBHqD, lse_CBHq):

    _merge_checked(o_CBHqD, lse_CBHq)
    top = lse_CBHq.amax(dim=0)
    weights = (lse_CBHq - top).exp()
    o_CBHqD = o_CBHqD.masked_fill((lse_CBHq == -math.inf)[..., None], 0.0)
    out = (weights[..., None] * o_CBHqD).sum(0) / weights.sum(0)[..., None]
    return out, top + weights.sum(0).log()
