# base = "solution"
# caught_by = "SlidingWindowCache.rejects"
# cause = "wrong_error"
# also_fails = []

"""Lets values of one row stand for all rows."""

# ruff: noqa: F821 - appended to solution.py


class SlidingWindowCache(SlidingWindowCache):
    def append(self, k_BHTD, v_BHTD):
        if v_BHTD.shape[0] == 1:
            v_BHTD = v_BHTD.expand(self._sizes[0], -1, -1, -1)
        super().append(k_BHTD, v_BHTD)
