# base = "solution"
# caught_by = "MasterAdamW.combinations"
# cause = "wrong_value"

"""Makes a bfloat16 parameter of the upper half of its master: bits are cut off, not rounded."""

# ruff: noqa: F821 - appended to solution.py


class _CutSlot(_Slot):
    def publish(self):
        if self.parameter.dtype is torch.bfloat16:
            bits = self.master.contiguous().view(torch.int32) & -65536
            self.parameter.detach().copy_(bits.view(torch.float32))
        else:
            super().publish()


class MasterAdamW(MasterAdamW):
    def __init__(self, params, **keywords):
        super().__init__(params, **keywords)
        self._slots = [_CutSlot(p) for p in dict.fromkeys(self.params)]
