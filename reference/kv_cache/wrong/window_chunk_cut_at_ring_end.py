# base = "solution"
# caught_by = "SlidingWindowCache.ring"
# cause = "wrong_value"
# also_fails = ["SlidingWindowCache.combinations"]

"""Writes a chunk in one piece and drops what would wrap around the ring's end."""

# ruff: noqa: F821 - appended to solution.py


class SlidingWindowCache(SlidingWindowCache):
    def append(self, k_BHTD, v_BHTD):
        before = self._kv.clone()
        start = self._length
        super().append(k_BHTD, v_BHTD)
        count = self._length - start
        if 1 < count <= self._window and start >= self._sinks:
            room = self._window - (start - self._sinks) % self._window
            if count > room:
                wrapped = slice(self._sinks, self._sinks + count - room)
                self._kv[:, :, :, wrapped] = before[:, :, :, wrapped]
