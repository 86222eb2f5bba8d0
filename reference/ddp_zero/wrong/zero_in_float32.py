# base = "solution"
# caught_by = "ZeroOptimizer.combinations"
# cause = "wrong_value"
# also_fails = []

"""Rounds all mean gradients to float32: those of float64 lose half of their digits."""

# ruff: noqa: F821 - appended to solution.py

_reduce = _Block.reduce


def _reduce_in_float32(self):
    shard = _reduce(self)
    return shard.float().to(shard.dtype)


_Block.reduce = _reduce_in_float32
