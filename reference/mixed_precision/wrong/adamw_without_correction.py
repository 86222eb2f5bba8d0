# base = "solution"
# caught_by = "MasterAdamW.trajectory"
# cause = "wrong_value"
# also_fails = [
#   "MasterAdamW.small_updates",
#   "MasterAdamW.decay",
#   "MasterAdamW.without_gradient",
#   "MasterAdamW.tied",
#   "MasterAdamW.round_trip",
# ]

"""Uses moments as they are, without the correction of their beginning at zero."""

# ruff: noqa: F821 - appended to solution.py


class _BiasedSlot(_Slot):
    def _step_plain(self, g, rule):
        true, self.steps = self.steps, 10**6
        super()._step_plain(g, rule)
        self.steps = true


class MasterAdamW(MasterAdamW):
    def __init__(self, params, **keywords):
        super().__init__(params, **keywords)
        self._slots = [_BiasedSlot(p) for p in dict.fromkeys(self.params)]
