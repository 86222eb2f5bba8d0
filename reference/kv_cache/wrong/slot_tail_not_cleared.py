# base = "solution"
# caught_by = "SlotCache.reuse"
# cause = "wrong_value"
# also_fails = ["SlotCache.combinations"]

"""Resets the length but not the contents: the old request shows behind the new one's tokens."""

# ruff: noqa: F821 - appended to solution.py


class SlotCache(SlotCache):
    def gather(self, slots):
        _, _, lengths = super().gather(slots)
        both = self._kv[:, slots, :, : int(lengths.max())]
        return both[0], both[1], lengths
