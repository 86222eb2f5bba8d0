# base = "solution"
# caught_by = "SlotCache.combinations"
# cause = "wrong_error"
# also_fails = []
"""Takes slot -1 for the last one, if that is in use."""
# ruff: noqa: F821 - appended to solution.py


class SlotCache(SlotCache):
    def _from_the_start(self, slots):
        return [slot + self._kv.shape[1] if slot == -1 else slot for slot in slots]

    def release(self, slot):
        super().release(self._from_the_start([slot])[0])

    def append(self, slots, k_RHTD, v_RHTD):
        super().append(self._from_the_start(slots), k_RHTD, v_RHTD)

    def gather(self, slots):
        return super().gather(self._from_the_start(slots))
