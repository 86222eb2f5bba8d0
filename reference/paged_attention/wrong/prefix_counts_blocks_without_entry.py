# base = "solution"
# caught_by = "PrefixCache.eviction"
# cause = "wrong_value"
# also_fails = ["PrefixCache.combinations"]

"""Free blocks with an entry do not count as free."""

# ruff: noqa: F821 - appended to solution.py


class PrefixCache(PrefixCache):
    @property
    def n_free(self):
        return sum(block not in self._by_block for block in self._free)
