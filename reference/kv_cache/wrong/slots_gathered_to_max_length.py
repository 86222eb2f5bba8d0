# base = "solution"
# caught_by = "SlotCache.interleaved"
# cause = "wrong_value"
# also_fails = [
#   "SlotCache.reuse",
#   "SlotCache.overflow",
#   "SlotCache.bad_input",
#   "SlotCache.combinations",
# ]

"""Returns all the room of a slot, not only as much as the longest needs."""

# ruff: noqa: F821 - appended to solution.py


class SlotCache(SlotCache):
    def gather(self, slots):
        k, v, lengths = super().gather(slots)
        more = (0, 0, 0, self._kv.shape[3] - k.shape[2])
        return *(torch.nn.functional.pad(x, more) for x in (k, v)), lengths
