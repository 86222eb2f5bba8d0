# base = "solution"
# caught_by = "MasterAdamW.trajectory"
# cause = "wrong_value"

"""Writes rounded weights through `reshape(-1)`: of a transposed matrix that is a copy."""

# ruff: noqa: F821 - appended to solution.py


class _FlatSlot(_Slot):
    def publish(self):
        if self.master.data_ptr() != self.parameter.data_ptr():
            self.parameter.detach().reshape(-1).copy_(self.master.reshape(-1))


class MasterAdamW(MasterAdamW):
    def __init__(self, params, **keywords):
        super().__init__(params, **keywords)
        self._slots = [_FlatSlot(p) for p in dict.fromkeys(self.params)]
