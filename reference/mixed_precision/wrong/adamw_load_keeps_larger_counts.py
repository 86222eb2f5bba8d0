# base = "solution"
# caught_by = "MasterAdamW.combinations"
# cause = "wrong_value"

"""Loads over a state without going back: the larger count of steps stays."""

# ruff: noqa: F821 - appended to solution.py


class MasterAdamW(MasterAdamW):
    def load_state_dict(self, state):
        counts = [slot.steps for slot in self._slots]
        super().load_state_dict(state)
        for slot, count in zip(self._slots, counts, strict=True):
            slot.steps = max(slot.steps, count)
