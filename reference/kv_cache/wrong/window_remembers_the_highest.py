# base = "solution"
# caught_by = "SlidingWindowCache.combinations"
# cause = "crash"
# also_fails = []
"""Refuses every rewind beyond the sinks once the ring was full, also after a new start."""
# ruff: noqa: F821 - appended to solution.py


class SlidingWindowCache(SlidingWindowCache):
    _highest = 0

    def append(self, k_BHTD, v_BHTD):
        super().append(k_BHTD, v_BHTD)
        self._highest = max(self._highest, self._length)

    def truncate(self, length):
        was_full = self._highest > self._sinks + self._window
        _require(not (was_full and self._sinks < length < self._length), "a token was overwritten")
        super().truncate(length)
