# base = "solution"
# caught_by = "KVCache.growth"
# cause = "wrong_value"
# also_fails = ["KVCache.combinations"]

"""Gives room back on a rewind; a server that rewinds would copy again and again."""

# ruff: noqa: F821 - appended to solution.py


class KVCache(KVCache):
    def truncate(self, length):
        super().truncate(length)
        self._kv = self._kv[:, :, :, : max(length, 1)].clone()
