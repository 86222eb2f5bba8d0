# base = "solution"
# caught_by = "QuantizedKVCache.error_bound"
# cause = "wrong_value"
# also_fails = []

"""Multiplies numbers and scales in bfloat16 when it dequantises."""

# ruff: noqa: F821 - appended to solution.py


class QuantizedKVCache(QuantizedKVCache):
    def keys(self):
        numbers, scales = self.packed_keys()
        return (numbers.bfloat16() * scales.bfloat16()[..., None]).to(self._dtype)
