# base = "solution"
# caught_by = "QuantizedKVCache.attend"
# cause = "wrong_value"
# also_fails = ["QuantizedKVCache.combinations"]

"""Leaves out the factor 1/sqrt(D)."""

# ruff: noqa: F821 - appended to solution.py


class QuantizedKVCache(QuantizedKVCache):
    def attend(self, q_BHqTD):
        self._require_queries(q_BHqTD)
        factor = math.sqrt(q_BHqTD.shape[3])
        wide = q_BHqTD.float() * factor
        kept, self._dtype = self._dtype, torch.float32
        try:
            return super().attend(wide).to(kept)
        finally:
            self._dtype = kept
