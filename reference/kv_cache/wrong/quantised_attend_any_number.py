# base = "solution"
# caught_by = "QuantizedKVCache.bad_input"
# cause = "wrong_error"
# also_fails = ["QuantizedKVCache.combinations"]

"""Attends with no queries, or with more than there are tokens."""

# ruff: noqa: F821 - appended to solution.py


class QuantizedKVCache(QuantizedKVCache):
    def attend(self, q_BHqTD):
        count = q_BHqTD.shape[2] if q_BHqTD.dim() == 4 else 1
        if count == 0 or count > self._length:
            return q_BHqTD.clone()
        return super().attend(q_BHqTD)
