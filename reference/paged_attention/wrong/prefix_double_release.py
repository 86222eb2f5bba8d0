# base = "solution"
# caught_by = "PrefixCache.misuse"
# cause = "wrong_error"
# also_fails = ["PrefixCache.combinations"]

"""Releases blocks that nobody holds, in silence."""

# ruff: noqa: F821 - appended to solution.py


class PrefixCache(PrefixCache):
    def release(self, blocks):
        left = dict(enumerate(self._counts))
        good = []
        for block in blocks:
            if left.get(block, 0):
                left[block] -= 1
                good.append(block)
        super().release(good)
