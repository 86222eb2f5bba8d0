# base = "solution"
# caught_by = "SlotCache.overflow"
# cause = "wrong_value"
# also_fails = ["SlotCache.combinations"]

"""Checks the room of a slot when it comes to it, with the slots before it already written."""

# ruff: noqa: F821 - appended to solution.py


class SlotCache(SlotCache):
    def append(self, slots, k_RHTD, v_RHTD):
        self._require_active(slots)
        _require(len(set(slots)) == len(slots), "a slot is named twice")
        _, _, heads, _, dim = self._kv.shape
        _require_chunk(k_RHTD, v_RHTD, (len(slots), heads, dim), self._dtype)
        for row, slot in enumerate(slots):
            super().append([slot], k_RHTD[row : row + 1], v_RHTD[row : row + 1])
