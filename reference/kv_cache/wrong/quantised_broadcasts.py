# base = "solution"
# caught_by = "QuantizedKVCache.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Lets values of one row stand for all rows."""

# ruff: noqa: F821 - appended to solution.py


class QuantizedKVCache(QuantizedKVCache):
    def append(self, k_BHTD, v_BHTD):
        if v_BHTD.shape[0] == 1:
            v_BHTD = v_BHTD.expand(self._sizes[0], -1, -1, -1)
        super().append(k_BHTD, v_BHTD)
