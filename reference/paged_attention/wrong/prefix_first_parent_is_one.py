# base = "solution"
# caught_by = "PrefixCache.combinations"
# cause = "wrong_value"
# also_fails = []

"""Hashes the first block of a prompt behind a parent of 1, not of 0."""

# ruff: noqa: F821 - appended to solution.py


class PrefixCache(PrefixCache):
    def __init__(self, n_blocks, block_size, hash_fn):
        super().__init__(n_blocks, block_size, hash_fn)
        self._given_hash = hash_fn

    def _full_blocks(self, tokens):
        first = True

        def behind_one(parent, chunk):
            nonlocal first
            parent, first = (1 if first else parent), False
            return self._given_hash(parent, chunk)

        self._hash = behind_one
        return super()._full_blocks(tokens)
