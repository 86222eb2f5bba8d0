# base = "solution"
# caught_by = "KVCache.truncate"
# cause = "wrong_value"
# also_fails = ["KVCache.combinations"]

"""Rewinding keeps one token more than asked for."""

# ruff: noqa: F821 - appended to solution.py


class KVCache(KVCache):
    def truncate(self, length):
        _require(0 <= length <= self._length, f"cannot keep {length} tokens")
        self._length = min(length + 1, self._length)
