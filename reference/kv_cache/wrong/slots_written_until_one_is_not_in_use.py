# base = "solution"
# caught_by = "SlotCache.bad_input"
# cause = "wrong_value"
# also_fails = ["SlotCache.combinations"]

"""Writes to the slots before the one that is not in use."""

# ruff: noqa: F821 - appended to solution.py


class SlotCache(SlotCache):
    def append(self, slots, k_RHTD, v_RHTD):
        known = [slot for slot in slots if slot in self._lengths]
        if len(known) < len(slots) and len(set(known)) == len(known):
            super().append(known, k_RHTD[: len(known)], v_RHTD[: len(known)])
        super().append(slots, k_RHTD, v_RHTD)
