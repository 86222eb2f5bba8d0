# base = "solution"
# caught_by = "MasterAdamW.combinations"
# cause = "wrong_value"

"""Keeps a master of a float32 parameter too: who changes the parameter is overruled."""

# ruff: noqa: F821 - appended to solution.py


class _CopySlot(_Slot):
    def __init__(self, parameter):
        super().__init__(parameter)
        self.master = self.master.clone()


class MasterAdamW(MasterAdamW):
    def __init__(self, params, **keywords):
        super().__init__(params, **keywords)
        self._slots = [_CopySlot(p) for p in dict.fromkeys(self.params)]
