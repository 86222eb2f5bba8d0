# base = "solution"
# caught_by = "ZeroOptimizer.combinations"
# cause = "wrong_value"
# also_fails = []

"""Reduces all gradients in float32: parameters in float64 get half of their digits."""

# ruff: noqa: F821 - appended to solution.py

_reduce_scatter = reduce_scatter


def reduce_scatter(shard_S, whole_NS):
    shard = shard_S.float()
    _reduce_scatter(shard, whole_NS.float())
    shard_S.copy_(shard)
