# base = "solution"
# caught_by = "KVCache.append_growth"
# cause = "too_slow"

"""Right, and presized as asked, but grows by steps of 1024 tokens, whatever `capacity` says."""

# ruff: noqa: F821 - appended to solution.py

STEP_TOKENS = 1024


class KVCache(KVCache):
    @property
    def capacity(self):
        return self.__dict__.get("_claimed", self._kv.shape[3])

    def append(self, k_BHTD, v_BHTD):
        end = self._length + _require_chunk(k_BHTD, v_BHTD, self._sizes, self._dtype)
        if end > self.capacity:
            self._claimed = max(2 * self.capacity, end)
        if end > self._kv.shape[3]:
            rows, heads, dim = self._sizes
            room = -(-end // STEP_TOKENS) * STEP_TOKENS
            more = self._kv.new_empty((2, rows, heads, room, dim))
            more[:, :, :, : self._length] = self._kv[:, :, :, : self._length]
            self._kv = more
        self._kv[0, :, :, self._length : end] = k_BHTD
        self._kv[1, :, :, self._length : end] = v_BHTD
        self._length = end
