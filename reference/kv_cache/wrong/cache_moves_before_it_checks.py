# base = "solution"
# caught_by = "KVCache.failed_append"
# cause = "wrong_value"
# also_fails = ["KVCache.growth", "KVCache.combinations"]

"""Writes the keys and moves the length before the values turn out not to fit."""

# ruff: noqa: F821 - appended to solution.py


class KVCache(KVCache):
    def append(self, k_BHTD, v_BHTD):
        if k_BHTD.dim() == 4 and k_BHTD.shape[:2] + k_BHTD.shape[3:] == self._sizes:
            super().append(k_BHTD, k_BHTD) if k_BHTD.dtype == self._dtype else None
            self._length -= k_BHTD.shape[2]
        start = self._length
        try:
            super().append(k_BHTD, v_BHTD)
        except ValueError:
            self._length = start + (k_BHTD.shape[2] if k_BHTD.dim() == 4 else 0)
            raise
