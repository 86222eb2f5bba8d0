# base = "solution"
# caught_by = "SlotCache.bad_input"
# cause = "wrong_error"
# also_fails = ["SlotCache.combinations"]

"""Appends one row after the other, also twice to one slot."""

# ruff: noqa: F821 - appended to solution.py


class SlotCache(SlotCache):
    def append(self, slots, k_RHTD, v_RHTD):
        if len(set(slots)) == len(slots):
            return super().append(slots, k_RHTD, v_RHTD)
        for row, slot in enumerate(slots):
            super().append([slot], k_RHTD[row : row + 1], v_RHTD[row : row + 1])
