# base = "solution"
# caught_by = "SlotCache.interleaved"
# cause = "wrong_value"
# also_fails = [
#   "SlotCache.reuse",
#   "SlotCache.overflow",
#   "SlotCache.bad_input",
#   "SlotCache.combinations",
# ]

"""Returns lengths as int32."""

# ruff: noqa: F821 - appended to solution.py


class SlotCache(SlotCache):
    def gather(self, slots):
        k, v, lengths = super().gather(slots)
        return k, v, lengths.int()
