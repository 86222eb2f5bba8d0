# base = "solution"
# caught_by = "PrefixCache.lookup_growth"
# cause = "too_slow"
# also_fails = []

"""Right, but keeps and compares everything before a block as well, for each block."""

# ruff: noqa: F821 - appended to solution.py


class PrefixCache(PrefixCache):
    def _full_blocks(self, tokens):
        found = super()._full_blocks(tokens)
        ends = range(self._size, len(tokens) + 1, self._size)
        self._known = {tuple(tokens[:end]): pair for end, pair in zip(ends, found, strict=True)}
        return list(self._known.values())
