# base = "solution"
# caught_by = "ZeroOptimizer.stage_1"
# cause = "wrong_value"
# also_fails = [
#   "ZeroOptimizer.uneven_shards",
#   "ZeroOptimizer.groups",
#   "ZeroOptimizer.unused",
#   "ZeroOptimizer.checkpoint",
#   "ZeroOptimizer.bad_input",
# ]

"""Stage 1 steps by the sum over ranks."""

# ruff: noqa: F821 - appended to solution.py


class ZeroOptimizer(ZeroOptimizer):
    def step(self):
        if self._stage == 1:
            for param in self._params():
                if param.grad is not None:
                    param.grad = param.grad * dist.get_world_size()
        super().step()
