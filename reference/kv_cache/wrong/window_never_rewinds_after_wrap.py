# base = "solution"
# caught_by = "SlidingWindowCache.truncate"
# cause = "crash"
# also_fails = ["SlidingWindowCache.combinations"]

"""Refuses every rewind once the ring has wrapped, also those that need only the sinks."""

# ruff: noqa: F821 - appended to solution.py


class SlidingWindowCache(SlidingWindowCache):
    def truncate(self, length):
        wrapped = self._length > self._sinks + self._window
        _require(not wrapped or length == self._length, "the ring has wrapped")
        super().truncate(length)
