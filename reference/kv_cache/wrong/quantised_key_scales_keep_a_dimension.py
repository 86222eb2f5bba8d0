# base = "solution"
# caught_by = "QuantizedKVCache.storage"
# cause = "wrong_value"
# also_fails = ["QuantizedKVCache.combinations"]

"""Returns scales of keys as [B, H, S, 1]."""

# ruff: noqa: F821 - appended to solution.py


class QuantizedKVCache(QuantizedKVCache):
    def packed_keys(self):
        numbers, scales = super().packed_keys()
        return numbers, scales[..., None]
