# base = "solution"
# caught_by = "QuantizedKVCache.error_bound"
# cause = "crash"
# also_fails = ["QuantizedKVCache.combinations"]

"""Takes a chunk without tokens for a mistake."""

# ruff: noqa: F821 - appended to solution.py


class QuantizedKVCache(QuantizedKVCache):
    def append(self, k_BHTD, v_BHTD):
        _require(k_BHTD.numel() > 0, "nothing to append")
        super().append(k_BHTD, v_BHTD)
