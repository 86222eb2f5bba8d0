# base = "solution"
# caught_by = "SlotCache.bad_input"
# cause = "wrong_error"
# also_fails = ["SlotCache.combinations"]

"""Lets Python index slot -1, which is somebody else's."""

# ruff: noqa: F821 - appended to solution.py


class SlotCache(SlotCache):
    def append(self, slots, k_RHTD, v_RHTD):
        super().append([slot % self._kv.shape[1] for slot in slots], k_RHTD, v_RHTD)

    def _require_active(self, slots):
        _require(all(slot % self._kv.shape[1] in self._lengths for slot in slots), "not in use")
