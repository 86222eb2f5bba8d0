# base = "solution"
# caught_by = "SlidingWindowCache.rejects"
# cause = "wrong_error"
# also_fails = []

"""Casts chunks of another dtype to the cache's."""

# ruff: noqa: F821 - appended to solution.py


class SlidingWindowCache(SlidingWindowCache):
    def append(self, k_BHTD, v_BHTD):
        super().append(k_BHTD.to(self._dtype), v_BHTD.to(self._dtype))
