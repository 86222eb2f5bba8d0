# base = "solution"
# caught_by = "PrefixCache.shared_prefix"
# cause = "crash"
# also_fails = [
#   "PrefixCache.beginnings",
#   "PrefixCache.collisions",
#   "PrefixCache.combinations",
#   "PrefixCache.eviction",
#   "PrefixCache.misuse",
#   "PrefixCache.out_of_blocks",
#   "PrefixCache.parents",
# ]

"""Gives the hash function a list of tokens."""

# ruff: noqa: F821 - appended to solution.py


class PrefixCache(PrefixCache):
    def __init__(self, n_blocks, block_size, hash_fn):
        super().__init__(n_blocks, block_size, lambda parent, tokens: hash_fn(parent, list(tokens)))
