# base = "solution"
# caught_by = "KVCache.combinations"
# cause = "wrong_value"
# also_fails = []
"""Grows to twice the length, not to twice the room: less after a rewind."""
# ruff: noqa: F821 - appended to solution.py


class KVCache(KVCache):
    def _grow(self, needed):
        room = max(2 * self._length, needed)
        self._kv, old = self._kv.new_empty(*self._kv.shape[:3], room, self._sizes[2]), self._kv
        self._kv[:, :, :, : self._length] = old[:, :, :, : self._length]
