# base = "solution"
# caught_by = "KVCache.append_growth"
# cause = "too_slow"

"""Right, but sums up the whole cache after each append, to see whether it holds a NaN."""

# ruff: noqa: F821 - appended to solution.py


class KVCache(KVCache):
    def append(self, k_BHTD, v_BHTD):
        super().append(k_BHTD, v_BHTD)
        self._healthy = math.isfinite(float(self._kv[:, :, :, : self._length].sum()))
