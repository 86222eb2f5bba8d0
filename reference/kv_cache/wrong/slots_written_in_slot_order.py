# base = "solution"
# caught_by = "SlotCache.interleaved"
# cause = "wrong_value"
# also_fails = ["SlotCache.combinations"]

"""Writes row 0 to the lowest of the slots named, and so on."""

# ruff: noqa: F821 - appended to solution.py


class SlotCache(SlotCache):
    def append(self, slots, k_RHTD, v_RHTD):
        super().append(sorted(slots), k_RHTD, v_RHTD)
