# base = "solution"
# caught_by = "QuantizedKVCache.storage"
# cause = "wrong_value"
# also_fails = ["QuantizedKVCache.zero_vectors"]

"""Returns the packed keys where packed values are asked for."""

# ruff: noqa: F821 - appended to solution.py


class QuantizedKVCache(QuantizedKVCache):
    def packed_values(self):
        return self.packed_keys()
