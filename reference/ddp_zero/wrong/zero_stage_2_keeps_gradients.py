# base = "solution"
# caught_by = "ZeroOptimizer.stage_2"
# cause = "wrong_value"
# also_fails = ["ZeroOptimizer.stage_2_memory"]

"""Stage 2 reduces while backward runs and frees nothing before `zero_grad`."""

# ruff: noqa: F821 - appended to solution.py


class _Keeper(ZeroOptimizer):
    pass


class ZeroOptimizer(ZeroOptimizer):
    def _reduce_next(self):
        block = self._blocks[self._reduced]
        reduced = self.__dict__.setdefault("_kept", {})
        super()._reduce_next()
        del reduced, block

    def finish_backward(self):
        super().finish_backward()
        for param in self._params():
            if param in self._used:
                param.grad = torch.zeros_like(param)
