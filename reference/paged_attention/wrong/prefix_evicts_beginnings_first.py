# base = "solution"
# caught_by = "PrefixCache.eviction"
# cause = "wrong_value"
# also_fails = ["PrefixCache.combinations"]

"""Releases the first block of a prompt first, so that it is given out first."""

# ruff: noqa: F821 - appended to solution.py


class PrefixCache(PrefixCache):
    def release(self, blocks):
        super().release(blocks[::-1])
