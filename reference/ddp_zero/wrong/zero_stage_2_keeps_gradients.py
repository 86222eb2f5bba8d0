# base = "solution"
# caught_by = "ZeroOptimizer.stage_2"
# cause = "wrong_value"
# also_fails = []

"""Stage 2 reduces while backward runs and leaves whole gradients until `zero_grad`."""

# ruff: noqa: F821 - appended to solution.py


class ZeroOptimizer(ZeroOptimizer):
    def _reduce_next(self):
        params = self._blocks[self._reduced].params
        whole = [param.grad for param in params]
        super()._reduce_next()
        for param, gradient in zip(params, whole, strict=True):
            if gradient is not None:
                param.grad = gradient.zero_()  # what it held is in the shard
