# base = "solution"
# caught_by = "SlotCache.overflow"
# cause = "crash"
# also_fails = ["SlotCache.combinations"]

"""Refuses the token that would fill a slot."""

# ruff: noqa: F821 - appended to solution.py


class SlotCache(SlotCache):
    def append(self, slots, k_RHTD, v_RHTD):
        self._require_active(slots)
        count = k_RHTD.shape[2] if k_RHTD.dim() == 4 else 0
        for slot in slots:
            _require(self._lengths[slot] + count < self._kv.shape[3], f"slot {slot} is full")
        super().append(slots, k_RHTD, v_RHTD)
