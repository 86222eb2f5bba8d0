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

"""Gives blocks out from the end of the queue."""

# ruff: noqa: F821 - appended to solution.py


class PrefixCache(PrefixCache):
    def _take(self):
        self._free.move_to_end(next(reversed(self._free)), last=False)
        return super()._take()
