# base = "solution"
# caught_by = "PrefixCache.shared_prefix"
# cause = "wrong_value"
# also_fails = [
#   "PrefixCache.beginnings",
#   "PrefixCache.collisions",
#   "PrefixCache.combinations",
#   "PrefixCache.eviction",
#   "PrefixCache.misuse",
#   "PrefixCache.out_of_blocks",
#   "PrefixCache.parents",
# ]

"""Returns the number of blocks that hit, not that of tokens."""

# ruff: noqa: F821 - appended to solution.py


class PrefixCache(PrefixCache):
    def allocate(self, tokens):
        blocks, known = super().allocate(tokens)
        return blocks, known // self._size
