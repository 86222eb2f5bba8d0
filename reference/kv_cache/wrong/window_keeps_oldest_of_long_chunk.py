# base = "solution"
# caught_by = "SlidingWindowCache.long_chunk"
# cause = "wrong_value"
# also_fails = ["SlidingWindowCache.combinations"]

"""Stops writing a long chunk when the ring is full."""

# ruff: noqa: F821 - appended to solution.py


class SlidingWindowCache(SlidingWindowCache):
    def append(self, k_BHTD, v_BHTD):
        start = self._length
        super().append(k_BHTD, v_BHTD)
        first = max(self._sinks - start, 0)
        if k_BHTD.shape[2] - first > self._window:
            slots = self._slots(start + first, start + first + self._window)
            self._kv[0][:, :, slots] = k_BHTD[:, :, first : first + self._window]
            self._kv[1][:, :, slots] = v_BHTD[:, :, first : first + self._window]
