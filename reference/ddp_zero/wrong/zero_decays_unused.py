# base = "solution"
# caught_by = "ZeroOptimizer.unused"
# cause = "wrong_value"
# also_fails = [
#   "ZeroOptimizer.stage_1",
#   "ZeroOptimizer.stage_2",
#   "ZeroOptimizer.checkpoint",
# ]

"""Takes a missing gradient for zeros: what nobody used decays, and its steps are counted."""

# ruff: noqa: F821 - appended to solution.py


class ZeroOptimizer(ZeroOptimizer):
    def _count_steps(self):
        self._used.update(param for block in self._blocks for param in block.params)
        return super()._count_steps()
