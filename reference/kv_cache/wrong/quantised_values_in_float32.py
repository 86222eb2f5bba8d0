# base = "solution"
# caught_by = "QuantizedKVCache.error_bound"
# cause = "wrong_value"
# also_fails = ["QuantizedKVCache.combinations"]

"""Returns values as float32, whatever the cache's dtype."""

# ruff: noqa: F821 - appended to solution.py


class QuantizedKVCache(QuantizedKVCache):
    def values(self):
        return super().values().float()
