# base = "solution"
# caught_by = "MasterAdamW.combinations"
# cause = "wrong_value"

"""Pairs gradients and weights in the order of memory, which may differ."""

# ruff: noqa: F821 - appended to solution.py


class _FlatSlot(_Slot):
    def step(self, gradient, rule):
        p = self.parameter
        dense = p.untyped_storage().nbytes() == gradient.untyped_storage().nbytes()
        if dense and p.numel() * p.element_size() == p.untyped_storage().nbytes():
            gradient = gradient.as_strided(p.shape, p.stride())
        super().step(gradient, rule)


class MasterAdamW(MasterAdamW):
    def __init__(self, params, **keywords):
        super().__init__(params, **keywords)
        self._slots = [_FlatSlot(p) for p in dict.fromkeys(self.params)]
