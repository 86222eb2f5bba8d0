# base = "solution"
# caught_by = "ZeroOptimizer.combinations"
# cause = "wrong_value"
# also_fails = []

"""Forgets the shards of gradients in the step: cleared without one, they stay."""

# ruff: noqa: F821 - appended to solution.py


class ZeroOptimizer(ZeroOptimizer):
    def step(self):
        super().step()
        self._used.clear()
        for block in self._blocks:
            block.gradient = None

    def zero_grad(self):
        for param in self._params():
            param.grad = None
