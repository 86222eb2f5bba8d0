# base = "solution"
# caught_by = "PrefixCache.combinations"
# cause = "wrong_value or crash"
# also_fails = []

"""A block whose entry was replaced takes the new entry with it when it is given out."""

# ruff: noqa: F821 - appended to solution.py


class PrefixCache(PrefixCache):
    def _take(self):
        block, _ = self._free.popitem(last=False)
        self._counts[block] = 1
        old = self._by_block.pop(block, None)
        if old is not None:
            new = self._by_hash.pop(old.hash, None)
            if new is not None and new is not old:
                self._by_block.pop(new.block, None)
        return block

    def _enter(self, entry):
        replaced = self._by_hash.get(entry.hash)
        same = replaced is not None and replaced.tokens == entry.tokens
        if same and replaced.parent is entry.parent:
            return replaced
        self._by_hash[entry.hash] = self._by_block[entry.block] = entry
        return entry
