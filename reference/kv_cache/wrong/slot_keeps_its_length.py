# base = "solution"
# caught_by = "SlotCache.reuse"
# cause = "wrong_value"
# also_fails = ["SlotCache.combinations"]

"""Releasing a slot leaves its length, so that the next request continues the old one."""

# ruff: noqa: F821 - appended to solution.py


class SlotCache(SlotCache):
    def release(self, slot):
        self._require_active([slot])
        self.__dict__.setdefault("_old", {})[slot] = self._lengths.pop(slot)

    def acquire(self):
        slot = super().acquire()
        self._lengths[slot] = self.__dict__.get("_old", {}).get(slot, 0)
        return slot
