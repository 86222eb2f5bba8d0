# base = "solution"
# caught_by = "KVCache.combinations"
# cause = "wrong_value"
# also_fails = []
"""Gives its room back when everything is forgotten."""
# ruff: noqa: F821 - appended to solution.py


class KVCache(KVCache):
    def truncate(self, length):
        super().truncate(length)
        if length == 0:
            self._kv = self._kv[:, :, :, :0].clone()
