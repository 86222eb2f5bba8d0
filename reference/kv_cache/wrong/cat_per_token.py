# base = "solution"
# caught_by = "KVCache.append_growth"
# cause = "too_slow"
# also_fails = ["KVCache.presized_memory"]

"""Right, but every append copies the whole cache with `torch.cat`."""

# ruff: noqa: F821 - appended to solution.py


class KVCache(KVCache):
    def append(self, k_BHTD, v_BHTD):
        _require_chunk(k_BHTD, v_BHTD, self._sizes, self._dtype)
        chunk = torch.stack((k_BHTD, v_BHTD))
        self._whole = torch.cat((self._stored(), chunk), dim=3)
        self._length = self._whole.shape[3]
        if self._length > self.capacity:
            self._claimed = max(2 * self.capacity, self._length)

    @property
    def capacity(self):
        return self.__dict__.get("_claimed", self._kv.shape[3])

    def _stored(self):
        empty = self._kv[:, :, :, :0]
        return self.__dict__.get("_whole", empty)[:, :, :, : self._length]

    def keys(self):
        return self._stored()[0]

    def values(self):
        return self._stored()[1]
