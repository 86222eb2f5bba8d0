# base = "solution"
# caught_by = "QuantizedKVCache.attend"
# cause = "wrong_value"
# also_fails = ["QuantizedKVCache.combinations"]

"""Rounds keys and values to the cache's dtype before it attends."""

# ruff: noqa: F821 - appended to solution.py


class QuantizedKVCache(QuantizedKVCache):
    def _dequantised(self, which, start, end):
        return super()._dequantised(which, start, end).to(self._dtype).float()
