# base = "solution"
# caught_by = "SlidingWindowCache.rejects"
# cause = "wrong_error"
# also_fails = ["SlidingWindowCache.combinations"]

"""Rewinds as long as one token of the ring is left, though others are gone."""

# ruff: noqa: F821 - appended to solution.py


class SlidingWindowCache(SlidingWindowCache):
    def truncate(self, length):
        _require(0 <= length <= self._length, f"cannot keep {length} tokens")
        left = length > self._length - self._window or length <= self._sinks
        _require(left, "all of these tokens have been overwritten")
        self._length = length
