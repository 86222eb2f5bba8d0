# base = "solution"
# caught_by = "KVCache.growth"
# cause = "wrong_value"
# also_fails = ["KVCache.combinations"]

"""Makes room for a chunk that is then refused."""

# ruff: noqa: F821 - appended to solution.py


class KVCache(KVCache):
    def append(self, k_BHTD, v_BHTD):
        needed = self._length + (k_BHTD.shape[2] if k_BHTD.dim() == 4 else 0)
        if needed > self.capacity:
            self._grow(needed)
        super().append(k_BHTD, v_BHTD)
