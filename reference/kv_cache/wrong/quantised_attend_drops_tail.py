# base = "solution"
# caught_by = "QuantizedKVCache.combinations"
# cause = "wrong_value"
# also_fails = []
"""Leaves out the values behind the last full block of 128."""
# ruff: noqa: F821 - appended to solution.py


class QuantizedKVCache(QuantizedKVCache):
    def _dequantised(self, which, start, end):
        numbers = super()._dequantised(which, start, end)
        if which == 1 and end - start > 1 and end > 128 and self._attending:
            full = end // 128 * 128
            numbers[:, :, max(full - start, 0) :] = 0
        return numbers

    _attending = False

    def attend(self, q_BHqTD):
        self._attending = True
        try:
            return super().attend(q_BHqTD)
        finally:
            self._attending = False
