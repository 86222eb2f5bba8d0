# base = "solution"
# caught_by = "SlotCache.reuse"
# cause = "wrong_value"
# also_fails = []

"""Lists the slots in use in the order in which they were taken."""

# ruff: noqa: F821 - appended to solution.py


class SlotCache(SlotCache):
    @property
    def active(self):
        return list(self._lengths)
