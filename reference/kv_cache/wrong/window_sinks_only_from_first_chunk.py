# base = "solution"
# caught_by = "SlidingWindowCache.sinks"
# cause = "wrong_value"
# also_fails = ["SlidingWindowCache.combinations"]

"""Takes the sinks from the first chunk alone; what comes later goes into the ring."""

# ruff: noqa: F821 - appended to solution.py


class SlidingWindowCache(SlidingWindowCache):
    def append(self, k_BHTD, v_BHTD):
        if self._length == 0 and 0 < k_BHTD.shape[2] < self._sinks:
            self._sinks = k_BHTD.shape[2]
        super().append(k_BHTD, v_BHTD)
