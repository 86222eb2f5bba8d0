# base = "solution"
# caught_by = "QuantizedKVCache.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Leaves out query heads that are no whole group."""

# ruff: noqa: F821 - appended to solution.py


class QuantizedKVCache(QuantizedKVCache):
    def attend(self, q_BHqTD):
        if q_BHqTD.dim() == 4:
            q_BHqTD = q_BHqTD[:, : q_BHqTD.shape[1] // self._sizes[1] * self._sizes[1]]
        return super().attend(q_BHqTD)
