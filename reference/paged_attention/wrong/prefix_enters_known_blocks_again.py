# base = "solution"
# caught_by = "PrefixCache.shared_prefix"
# cause = "wrong_value"
# also_fails = ["PrefixCache.combinations"]

"""A new block replaces the same entry of an older one."""

# ruff: noqa: F821 - appended to solution.py


class PrefixCache(PrefixCache):
    def _enter(self, entry):
        replaced = self._by_hash.get(entry.hash)
        if replaced is not None:
            del self._by_block[replaced.block]
        self._by_hash[entry.hash] = self._by_block[entry.block] = entry
        return entry
