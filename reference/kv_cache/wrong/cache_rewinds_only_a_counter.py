# base = "solution"
# caught_by = "KVCache.truncate"
# cause = "wrong_value"
# also_fails = ["KVCache.combinations"]

"""Rewinding moves the length that is reported, but not the place where the next append writes."""

# ruff: noqa: F821 - appended to solution.py


class KVCache(KVCache):
    def append(self, k_BHTD, v_BHTD):
        reported = self._length
        self._length = self.__dict__.get("_written", reported)
        count = k_BHTD.shape[2] if k_BHTD.dim() == 4 else 0
        try:
            super().append(k_BHTD, v_BHTD)
        except ValueError:
            self._length = reported
            raise
        self._written = self._length
        self._length = reported + count
