# base = "solution"
# caught_by = "SlotCache.interleaved"
# cause = "wrong_value"
# also_fails = ["SlotCache.combinations"]

"""Returns rows in order of slot, not in the order asked for."""

# ruff: noqa: F821 - appended to solution.py


class SlotCache(SlotCache):
    def gather(self, slots):
        return super().gather(sorted(slots))
