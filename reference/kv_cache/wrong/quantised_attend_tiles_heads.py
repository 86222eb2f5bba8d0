# base = "solution"
# caught_by = "QuantizedKVCache.attend"
# cause = "wrong_value"
# also_fails = ["QuantizedKVCache.combinations"]

"""Query head h reads key/value head h % H."""

# ruff: noqa: F821 - appended to solution.py


class QuantizedKVCache(QuantizedKVCache):
    def attend(self, q_BHqTD):
        self._require_queries(q_BHqTD)
        heads = self._sizes[1]
        group = q_BHqTD.shape[1] // heads
        swapped = q_BHqTD.unflatten(1, (group, heads)).transpose(1, 2).flatten(1, 2)
        out = super().attend(swapped)
        return out.unflatten(1, (heads, group)).transpose(1, 2).flatten(1, 2)
