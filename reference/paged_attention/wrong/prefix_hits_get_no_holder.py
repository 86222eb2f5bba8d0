# base = "solution"
# caught_by = "PrefixCache.eviction"
# cause = "crash"
# also_fails = ["PrefixCache.combinations"]

"""A hit on a block that somebody holds adds no holder."""

# ruff: noqa: F821 - appended to solution.py


class PrefixCache(PrefixCache):
    def allocate(self, tokens):
        before = list(self._counts)
        blocks, known = super().allocate(tokens)
        for block in blocks[: known // self._size]:
            self._counts[block] = max(1, before[block])
        return blocks, known
