# base = "solution"
# caught_by = "PrefixCache.lookup_growth"
# cause = "too_slow"
# also_fails = []

"""Right, but hashes all blocks before it anew for each block."""

# ruff: noqa: F821 - appended to solution.py


class PrefixCache(PrefixCache):
    def _full_blocks(self, tokens):
        found = []
        for end in range(self._size, len(tokens) + 1, self._size):
            found.append(super()._full_blocks(tokens[:end])[-1])
        return found
