# base = "solution"
# caught_by = "SlotCache.interleaved"
# cause = "wrong_value"
# also_fails = ["SlotCache.combinations"]

"""Returns what it has stored as float32."""

# ruff: noqa: F821 - appended to solution.py


class SlotCache(SlotCache):
    def gather(self, slots):
        k, v, lengths = super().gather(slots)
        return k.float(), v.float(), lengths
