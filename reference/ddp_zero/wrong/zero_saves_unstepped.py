# base = "solution"
# caught_by = "ZeroOptimizer.checkpoint"
# cause = "wrong_value"
# also_fails = ["ZeroOptimizer.groups"]

"""The state has an entry for parameters that were never stepped."""

# ruff: noqa: F821 - appended to solution.py


class ZeroOptimizer(ZeroOptimizer):
    def state_dict(self):
        before = dict(self._steps)
        for param in self._params():
            self._steps.setdefault(param, 0)
        found = super().state_dict()
        self._steps = before
        return found
