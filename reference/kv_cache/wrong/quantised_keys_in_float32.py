# base = "solution"
# caught_by = "QuantizedKVCache.error_bound"
# cause = "wrong_value"
# also_fails = []

"""Returns keys as float32, whatever the cache's dtype."""

# ruff: noqa: F821 - appended to solution.py


class QuantizedKVCache(QuantizedKVCache):
    def keys(self):
        return super().keys().float()
