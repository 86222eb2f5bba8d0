# base = "solution"
# caught_by = "KVCache.growth"
# cause = "wrong_value"
# also_fails = ["KVCache.combinations"]

"""Makes room for exactly what is needed, so that every append copies everything."""

# ruff: noqa: F821 - appended to solution.py


class KVCache(KVCache):
    def _grow(self, needed):
        pad = self._kv.new_empty((*self._kv.shape[:3], needed - self.capacity, self._kv.shape[4]))
        self._kv = torch.cat((self._kv, pad), dim=3)
