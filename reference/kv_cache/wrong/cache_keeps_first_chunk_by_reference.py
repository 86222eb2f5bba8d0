# base = "solution"
# caught_by = "KVCache.owns_memory"
# cause = "wrong_value"
# also_fails = ["KVCache.combinations"]

"""Spares the copy of the first chunk: the cache then changes with the caller's buffer."""

# ruff: noqa: F821 - appended to solution.py


class KVCache(KVCache):
    def append(self, k_BHTD, v_BHTD):
        empty = self._length == 0
        super().append(k_BHTD, v_BHTD)
        if empty and self._length:
            self._first = (k_BHTD, v_BHTD)
        else:
            self._settle()

    def _settle(self):
        first = self.__dict__.pop("_first", None)
        if first is not None:
            count = min(first[0].shape[2], self._length)
            self._kv[0, :, :, :count] = first[0][:, :, :count]
            self._kv[1, :, :, :count] = first[1][:, :, :count]

    def keys(self):
        self._settle()
        return super().keys()

    def values(self):
        self._settle()
        return super().values()

    def truncate(self, length):
        self._settle()
        super().truncate(length)
