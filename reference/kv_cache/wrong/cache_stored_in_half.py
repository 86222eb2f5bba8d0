# base = "solution"
# caught_by = "KVCache.append_chunks"
# cause = "wrong_value"
# also_fails = ["KVCache.combinations"]

"""Stores everything in float16 and hands it back in the dtype asked for."""

# ruff: noqa: F821 - appended to solution.py


class KVCache(KVCache):
    def keys(self):
        return super().keys().half().to(self._dtype)

    def values(self):
        return super().values().half().to(self._dtype)
