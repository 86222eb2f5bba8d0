# base = "solution"
# caught_by = "SlotCache.exhaustion"
# cause = "wrong_error"
# also_fails = ["SlotCache.combinations"]

"""Returns -1 when all slots are in use."""

# ruff: noqa: F821 - appended to solution.py


class SlotCache(SlotCache):
    def acquire(self):
        try:
            return super().acquire()
        except RuntimeError:
            return -1
