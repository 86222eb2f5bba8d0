# base = "solution"
# caught_by = "PrefixCache.lookup_growth"
# cause = "too_slow"
# also_fails = []

"""Right, but keeps free blocks in a list, which it searches for each block that is found again."""

# ruff: noqa: F821 - appended to solution.py


class _Queue(list):
    def __setitem__(self, block, _):
        self.append(block)

    def pop(self, block, _=None):
        if block in self:
            self.remove(block)

    def popitem(self, *, last):
        return list.pop(self, 0), last


class PrefixCache(PrefixCache):
    def __init__(self, n_blocks, block_size, hash_fn):
        super().__init__(n_blocks, block_size, hash_fn)
        self._free = _Queue(self._free)
