# base = "solution"
# caught_by = "KVCache.presized_memory"
# cause = "too_much_memory"

"""Right, and says the capacity that it is given, but begins empty and doubles all the same."""

# ruff: noqa: F821 - appended to solution.py


class KVCache(KVCache):
    def __init__(self, *args, capacity=0, **kwargs):
        super().__init__(*args, **kwargs)
        _require(capacity >= 0, f"capacity must not be negative, got {capacity}")
        self._claimed = capacity

    @property
    def capacity(self):
        return self._claimed

    def append(self, k_BHTD, v_BHTD):
        end = self._length + _require_chunk(k_BHTD, v_BHTD, self._sizes, self._dtype)
        if end > self._claimed:
            self._claimed = max(2 * self._claimed, end)
        room = self._kv.shape[3]
        if end > room:
            rows, heads, dim = self._sizes
            larger = self._kv.new_empty((2, rows, heads, max(2 * room, end), dim))
            larger[:, :, :, : self._length] = self._kv[:, :, :, : self._length]
            self._kv = larger
        self._kv[0, :, :, self._length : end] = k_BHTD
        self._kv[1, :, :, self._length : end] = v_BHTD
        self._length = end
