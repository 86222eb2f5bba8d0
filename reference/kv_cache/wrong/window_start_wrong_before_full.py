# base = "solution"
# caught_by = "SlidingWindowCache.ring"
# cause = "wrong_value"
# also_fails = ["SlidingWindowCache.combinations"]

"""Rolls the ring to its oldest token before it is full, when that still lies in slot 0."""

# ruff: noqa: F821 - appended to solution.py


class SlidingWindowCache(SlidingWindowCache):
    def keys(self):
        if self._sinks or self._length >= self._window:
            return super().keys()
        start = self._length % self._window
        return self._kv[0].roll(-start, dims=2)[:, :, : self._length]
