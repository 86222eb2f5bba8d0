# base = "solution"
# caught_by = "QuantizedKVCache.storage"
# cause = "wrong_value"
# also_fails = ["QuantizedKVCache.combinations"]

"""Keeps the scales in float16, which rounds them by up to 2^-11."""

# ruff: noqa: F821 - appended to solution.py


class QuantizedKVCache(QuantizedKVCache):
    def packed_keys(self):
        numbers, scales = super().packed_keys()
        return numbers, scales.half().float()
