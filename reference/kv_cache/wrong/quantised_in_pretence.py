# base = "solution"
# caught_by = "QuantizedKVCache.storage"
# cause = "wrong_value"
# also_fails = ["QuantizedKVCache.zero_vectors", "QuantizedKVCache.combinations"]

"""Rounds the numbers but keeps them as floats: right values, four times the memory."""

# ruff: noqa: F821 - appended to solution.py


class QuantizedKVCache(QuantizedKVCache):
    def _packed(self, which):
        numbers, scales = super()._packed(which)
        return numbers.to(self._dtype), scales
