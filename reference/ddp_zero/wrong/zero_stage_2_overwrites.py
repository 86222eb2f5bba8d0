# base = "solution"
# caught_by = "ZeroOptimizer.stage_2"
# cause = "wrong_value"
# also_fails = []

"""Stage 2 keeps the shard of the last pass instead of adding up."""

# ruff: noqa: F821 - appended to solution.py


class ZeroOptimizer(ZeroOptimizer):
    def _reduce_next(self):
        self._blocks[self._reduced].gradient = None
        super()._reduce_next()
