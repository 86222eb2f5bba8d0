# base = "solution"
# caught_by = "MasterAdamW.combinations"
# cause = "wrong_value"

"""Takes the moments of a state as its own: they belong to the caller."""

# ruff: noqa: F821 - appended to solution.py


class MasterAdamW(MasterAdamW):
    def load_state_dict(self, state):
        super().load_state_dict(state)
        for slot, m, v in zip(self._slots, state["m"], state["v"], strict=True):
            slot.m, slot.v = m, v
