# base = "solution"
# caught_by = "MasterAdamW.combinations"
# cause = "wrong_value"

"""Keeps no state of frozen parameters: its lists are shorter."""

# ruff: noqa: F821 - appended to solution.py


class MasterAdamW(MasterAdamW):
    def __init__(self, params, **keywords):
        super().__init__(params, **keywords)
        self._slots = [slot for slot in self._slots if slot.parameter.requires_grad]
