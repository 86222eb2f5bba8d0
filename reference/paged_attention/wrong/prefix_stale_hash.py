# base = "solution"
# caught_by = "PrefixCache.eviction"
# cause = "wrong_value"
# also_fails = ["PrefixCache.combinations"]

"""A block that is given out again is still found by what lay in it before."""

# ruff: noqa: F821 - appended to solution.py


class PrefixCache(PrefixCache):
    def _take(self):
        block, _ = self._free.popitem(last=False)
        self._counts[block] = 1
        return block

    def _enter(self, entry):
        held = self._by_hash.get(entry.hash)
        if held is not None and (held.tokens, held.parent) == (entry.tokens, entry.parent):
            return held
        self._by_hash[entry.hash] = entry
        return entry
