# base = "solution"
# caught_by = "MasterAdamW.combinations"
# cause = "wrong_value"

"""Gives its own tensors as the state: they change with the next step."""

# ruff: noqa: F821 - appended to solution.py


class MasterAdamW(MasterAdamW):
    def state_dict(self):
        state = super().state_dict()
        state["m"] = [slot.m for slot in self._slots]
        state["v"] = [slot.v for slot in self._slots]
        return state
