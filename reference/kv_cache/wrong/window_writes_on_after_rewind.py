# base = "solution"
# caught_by = "SlidingWindowCache.truncate"
# cause = "wrong_value"
# also_fails = ["SlidingWindowCache.combinations"]

"""A rewind moves the length, but new tokens go where they would have gone without it."""

# ruff: noqa: F821 - appended to solution.py


class SlidingWindowCache(SlidingWindowCache):
    def truncate(self, length):
        before = self._length
        super().truncate(length)
        self._shift = self.__dict__.get("_shift", 0) + before - length

    def append(self, k_BHTD, v_BHTD):
        super().append(k_BHTD, v_BHTD)
        shift = self.__dict__.get("_shift", 0) % self._window
        if shift:
            ring = self._kv[:, :, :, self._sinks :]
            self._kv[:, :, :, self._sinks :] = ring.roll(shift, dims=3)
