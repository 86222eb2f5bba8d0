# base = "solution"
# caught_by = "QuantizedKVCache.attend"
# cause = "wrong_value"
# also_fails = ["QuantizedKVCache.combinations"]

"""Lets query t see the first t + 1 tokens."""

# ruff: noqa: F821 - appended to solution.py


class QuantizedKVCache(QuantizedKVCache):
    def attend(self, q_BHqTD):
        self._require_queries(q_BHqTD)
        if q_BHqTD.shape[2] == 1:
            return super().attend(q_BHqTD)
        kept = self._length
        self._length = q_BHqTD.shape[2]
        try:
            return super().attend(q_BHqTD)
        finally:
            self._length = kept
