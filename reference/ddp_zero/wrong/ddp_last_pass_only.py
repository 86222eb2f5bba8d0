# base = "solution"
# caught_by = "DDP.accumulation"
# cause = "wrong_value"
# also_fails = []

"""Averages the gradient of the last pass; what `no_sync` had added up stays each rank's own."""

# ruff: noqa: F821 - appended to solution.py


class DDP(DDP):
    @contextlib.contextmanager
    def no_sync(self):
        with super().no_sync():
            yield
        self._own = {p: p.grad.clone() for p in self._params if p.grad is not None}
        for param in self._params:
            param.grad = None

    def finish_backward(self):
        super().finish_backward()
        for param, gradient in self.__dict__.pop("_own", {}).items():
            param.grad = gradient if param.grad is None else param.grad + gradient
