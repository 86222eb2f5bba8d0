# base = "solution"
# caught_by = "SlotCache.bad_input"
# cause = "wrong_error"
# also_fails = ["SlotCache.combinations"]

"""Takes a second release of a slot for nothing to do."""

# ruff: noqa: F821 - appended to solution.py


class SlotCache(SlotCache):
    def release(self, slot):
        if slot in self._lengths:
            super().release(slot)
