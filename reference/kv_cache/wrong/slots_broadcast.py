# base = "solution"
# caught_by = "SlotCache.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Writes a chunk of one row to all slots named."""

# ruff: noqa: F821 - appended to solution.py


class SlotCache(SlotCache):
    def append(self, slots, k_RHTD, v_RHTD):
        if k_RHTD.shape[0] == v_RHTD.shape[0] == 1:
            k_RHTD, v_RHTD = (x.expand(len(slots), -1, -1, -1) for x in (k_RHTD, v_RHTD))
        super().append(slots, k_RHTD, v_RHTD)
