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

"""Enters no block: nothing is ever found."""

# ruff: noqa: F821 - appended to solution.py


class PrefixCache(PrefixCache):
    def _enter(self, entry):
        return entry
