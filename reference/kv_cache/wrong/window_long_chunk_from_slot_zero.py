# base = "solution"
# caught_by = "SlidingWindowCache.long_chunk"
# cause = "wrong_value"
# also_fails = ["SlidingWindowCache.combinations"]

"""Puts the newest tokens of a long chunk into the ring from its first slot on."""

# ruff: noqa: F821 - appended to solution.py


class SlidingWindowCache(SlidingWindowCache):
    def append(self, k_BHTD, v_BHTD):
        super().append(k_BHTD, v_BHTD)
        if k_BHTD.shape[2] > self._window:
            newest = slice(k_BHTD.shape[2] - self._window, None)
            self._kv[0, :, :, self._sinks :] = k_BHTD[:, :, newest]
            self._kv[1, :, :, self._sinks :] = v_BHTD[:, :, newest]
