# base = "solution"
# caught_by = "KVCache.append_chunks"
# cause = "wrong_value"
# also_fails = [
#   "KVCache.owns_memory",
#   "KVCache.truncate",
#   "KVCache.failed_append",
#   "KVCache.combinations",
# ]

"""Puts new tokens in front of the older ones."""

# ruff: noqa: F821 - appended to solution.py


class KVCache(KVCache):
    def append(self, k_BHTD, v_BHTD):
        before, start = self._kv[:, :, :, : self._length].clone(), self._length
        super().append(k_BHTD, v_BHTD)
        count = self._length - start
        self._kv[:, :, :, :count] = self._kv[:, :, :, start : self._length].clone()
        self._kv[:, :, :, count : self._length] = before
