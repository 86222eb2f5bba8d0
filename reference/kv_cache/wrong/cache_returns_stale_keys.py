# base = "solution"
# caught_by = "KVCache.append_chunks"
# cause = "wrong_value"
# also_fails = ["KVCache.owns_memory", "KVCache.truncate", "KVCache.combinations"]

"""Remembers what `keys` returned and returns it again."""

# ruff: noqa: F821 - appended to solution.py


class KVCache(KVCache):
    def keys(self):
        if "_stale" not in self.__dict__:
            self._stale = super().keys().clone()
        return self._stale
