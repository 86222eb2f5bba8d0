# base = "solution"
# caught_by = "split_kv_decode.merge"
# cause = "wrong_value"
# also_fails = ["split_kv_decode.empty_parts", "split_kv_decode.merges"]

"""Takes log-sum-exps to be to base 2."""

# ruff: noqa: F821 - appended to solution.py

_before_split_merges_to_base_two = merge_splits


def merge_splits(o_CBHqD, lse_CBHq):
    if lse_CBHq.dtype != torch.float32:
        return _before_split_merges_to_base_two(o_CBHqD, lse_CBHq)
    out, lse = _before_split_merges_to_base_two(o_CBHqD, lse_CBHq * math.log(2))
    return out, lse / math.log(2)
