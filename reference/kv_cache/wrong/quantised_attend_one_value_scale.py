# base = "solution"
# caught_by = "QuantizedKVCache.attend"
# cause = "wrong_value"
# also_fails = ["QuantizedKVCache.combinations"]

"""Multiplies the sum over values by the newest token's scale."""

# ruff: noqa: F821 - appended to solution.py


class QuantizedKVCache(QuantizedKVCache):
    def attend(self, q_BHqTD):
        kept = self._scales.clone()
        self._scales[1] = self._scales[1, :, :, self._length - 1 : self._length]
        try:
            return super().attend(q_BHqTD)
        finally:
            self._scales = kept
