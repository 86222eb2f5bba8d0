# base = "solution"
# caught_by = "PrefixCache.lookup_growth"
# cause = "too_slow"
# also_fails = []

"""Right, but hashes all tokens before it anew for each block, with a hash of its own."""

# ruff: noqa: F821 - appended to solution.py


class PrefixCache(PrefixCache):
    def _full_blocks(self, tokens):
        self._seen = set()
        for end in range(self._size, len(tokens) + 1, self._size):
            value = 0
            for token in tokens[:end]:
                value = (value * 1_000_003 + token + 1) % ((1 << 61) - 1)
            self._seen.add(value)
        return super()._full_blocks(tokens)
