# base = "solution"
# caught_by = "QuantizedKVCache.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Casts whatever comes to float32, as quantising does anyway."""

# ruff: noqa: F821 - appended to solution.py


class QuantizedKVCache(QuantizedKVCache):
    def append(self, k_BHTD, v_BHTD):
        super().append(k_BHTD.to(self._dtype), v_BHTD.to(self._dtype))

    def attend(self, q_BHqTD):
        return super().attend(q_BHqTD.to(self._dtype))
