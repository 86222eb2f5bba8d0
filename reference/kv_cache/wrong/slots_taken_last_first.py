# base = "solution"
# caught_by = "SlotCache.reuse"
# cause = "wrong_value"
# also_fails = ["SlotCache.combinations"]

"""Takes the slot that was given back last."""

# ruff: noqa: F821 - appended to solution.py


class SlotCache(SlotCache):
    def release(self, slot):
        super().release(slot)
        self.__dict__.setdefault("_free", []).append(slot)

    def acquire(self):
        free = self.__dict__.get("_free", [])
        if not free:
            return super().acquire()
        slot = free.pop()
        self._lengths[slot] = 0
        return slot
