# base = "solution"
# caught_by = "SlotCache.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Returns tensors without rows if no slot is named."""

# ruff: noqa: F821 - appended to solution.py


class SlotCache(SlotCache):
    def gather(self, slots):
        if slots:
            return super().gather(slots)
        nothing = self._kv[:, [], :, :0]
        return nothing[0], nothing[1], torch.zeros(0, dtype=torch.int64)
