# base = "solution"
# caught_by = "PrefixCache.combinations"
# cause = "crash"
# also_fails = []

"""Refuses a pool of one block."""

# ruff: noqa: F821 - appended to solution.py


class PrefixCache(PrefixCache):
    def __init__(self, n_blocks, block_size, hash_fn):
        _require(n_blocks > 1, "one block is too few")
        super().__init__(n_blocks, block_size, hash_fn)
