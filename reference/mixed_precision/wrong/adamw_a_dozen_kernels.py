# base = "solution"
# caught_by = "MasterAdamW.step_time"
# cause = "too_slow"
# also_fails = ["MasterAdamW.state_memory"]

"""One operation of torch after the other: right, and every number is read a dozen times."""

# ruff: noqa: F821 - appended to solution.py


class _PlainSlot(_Slot):
    def step(self, gradient, rule):
        self.steps += 1
        self._step_plain(gradient.float(), rule)


class MasterAdamW(MasterAdamW):
    def __init__(self, params, **keywords):
        super().__init__(params, **keywords)
        self._slots = [_PlainSlot(p) for p in dict.fromkeys(self.params)]
