# base = "solution"
# caught_by = "SlotCache.interleaved"
# cause = "crash"
# also_fails = ["SlotCache.combinations"]

"""Takes a chunk without tokens for a mistake."""

# ruff: noqa: F821 - appended to solution.py


class SlotCache(SlotCache):
    def append(self, slots, k_RHTD, v_RHTD):
        _require(k_RHTD.numel() > 0, "nothing to append")
        super().append(slots, k_RHTD, v_RHTD)
