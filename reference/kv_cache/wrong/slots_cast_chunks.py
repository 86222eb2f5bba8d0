# base = "solution"
# caught_by = "SlotCache.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Casts chunks of another dtype to the cache's."""

# ruff: noqa: F821 - appended to solution.py


class SlotCache(SlotCache):
    def append(self, slots, k_RHTD, v_RHTD):
        super().append(slots, k_RHTD.to(self._dtype), v_RHTD.to(self._dtype))
