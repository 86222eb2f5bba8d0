# base = "solution"
# caught_by = "ZeroOptimizer.uneven_shards"
# cause = "crash"
# also_fails = []

"""Updates its shard with an optimizer of torch's, which refuses to have no parameters."""

# ruff: noqa: F821 - appended to solution.py


class _Block(_Block):
    def update(self, gradient, steps):
        torch.optim.SGD([param for param, _, _ in self.pieces()], lr=0.0)
        super().update(gradient, steps)
