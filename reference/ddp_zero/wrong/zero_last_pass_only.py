# base = "solution"
# caught_by = "ZeroOptimizer.stage_1"
# cause = "wrong_value"
# also_fails = []

"""Stage 1 reduces what the last pass has added, not what all have."""

# ruff: noqa: F821 - appended to solution.py


class ZeroOptimizer(ZeroOptimizer):
    def finish_backward(self):
        super().finish_backward()
        if self._stage == 1:
            before = self.__dict__.setdefault("_before", {})
            for param in self._params():
                if param.grad is not None:
                    whole = param.grad.clone()
                    param.grad -= before.get(param, 0)
                    before[param] = whole

    def zero_grad(self):
        super().zero_grad()
        self.__dict__.pop("_before", None)
