# base = "solution"
# caught_by = "PrefixCache.eviction"
# cause = "wrong_value"
# also_fails = ["PrefixCache.combinations"]

"""A free block that is found again stays in the queue and is given out twice."""

# ruff: noqa: F821 - appended to solution.py


class PrefixCache(PrefixCache):
    def allocate(self, tokens):
        before = list(self._free)
        blocks, cached = super().allocate(tokens)
        found = [block for block in before if block in blocks[: cached // self._size]]
        self._free = OrderedDict.fromkeys([*found, *self._free])
        return blocks, cached
