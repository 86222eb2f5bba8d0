# base = "solution"
# caught_by = "SlotCache.reuse"
# cause = "wrong_value"
# also_fails = ["SlotCache.exhaustion", "SlotCache.bad_input", "SlotCache.combinations"]

"""Keeps a slot for its first request."""

# ruff: noqa: F821 - appended to solution.py


class SlotCache(SlotCache):
    def release(self, slot):
        self._require_active([slot])
