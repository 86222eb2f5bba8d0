# base = "solution"
# caught_by = "ZeroOptimizer.unused"
# cause = "wrong_value"
# also_fails = []

"""Counts the steps of the optimizer, not those of each parameter."""

# ruff: noqa: F821 - appended to solution.py


class ZeroOptimizer(ZeroOptimizer):
    def _count_steps(self):
        steps = super()._count_steps()
        most = max(self._steps.values(), default=0)
        if len(self.param_groups) == 1:
            self._steps.update(dict.fromkeys(steps, most))
        return {param: self._steps[param] for param in steps}
