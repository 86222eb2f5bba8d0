# base = "solution"
# caught_by = "PrefixCache.misuse"
# cause = "wrong_value"
# also_fails = ["PrefixCache.combinations"]

"""Releases the good blocks before it comes to the bad one and raises."""

# ruff: noqa: F821 - appended to solution.py


class PrefixCache(PrefixCache):
    def release(self, blocks):
        for block in reversed(blocks):
            super().release([block])
