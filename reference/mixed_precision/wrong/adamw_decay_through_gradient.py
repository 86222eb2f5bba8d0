# base = "solution"
# caught_by = "MasterAdamW.decay"
# cause = "wrong_value"
# also_fails = [
#   "MasterAdamW.without_gradient",
#   "MasterAdamW.round_trip",
# ]

"""Adds the decay to the gradient, as L2 regularisation: it is scaled by the moments."""

# ruff: noqa: F821 - appended to solution.py


class _L2Slot(_Slot):
    def _step_plain(self, g, rule):
        plain = _Rule(rule.lr, (rule.beta1, rule.beta2), rule.eps, 0.0)
        super()._step_plain(g + rule.weight_decay * self.master, plain)


class MasterAdamW(MasterAdamW):
    def __init__(self, params, **keywords):
        super().__init__(params, **keywords)
        self._slots = [_L2Slot(p) for p in dict.fromkeys(self.params)]
