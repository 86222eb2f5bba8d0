# base = "solution"
# caught_by = "KVCache.append_growth"
# cause = "too_slow"

"""Right, but looks at the whole cache after each append, to be on the safe side."""

# ruff: noqa: F821 - appended to solution.py


class KVCache(KVCache):
    def append(self, k_BHTD, v_BHTD):
        super().append(k_BHTD, v_BHTD)
        self._healthy = not bool(self._kv[:, :, :, : self._length].isnan().any())
