# base = "solution"
# caught_by = "PrefixCache.combinations"
# cause = "wrong_error"
# also_fails = []

"""Makes a cache of no block, or of blocks of no token."""

# ruff: noqa: F821 - appended to solution.py


class PrefixCache(PrefixCache):
    def __init__(self, n_blocks, block_size, hash_fn):
        super().__init__(max(n_blocks, 1), max(block_size, 1), hash_fn)
