# base = "solution"
# caught_by = "ZeroOptimizer.stage_2_memory"
# cause = "too_much_memory"
# also_fails = []

"""Right, but stage 2 frees gradients only when the whole backward pass has ended."""

# ruff: noqa: F821 - appended to solution.py


class ZeroOptimizer(ZeroOptimizer):
    def _hook(self, block):
        return lambda param: None
