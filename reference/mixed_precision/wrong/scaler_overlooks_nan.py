# base = "solution"
# caught_by = "GradScaler.overflow"
# cause = "wrong_value"

"""Looks for inf alone."""

# ruff: noqa: F821 - appended to solution.py


class GradScaler(GradScaler):
    def unscale_(self, optimizer):
        super().unscale_(optimizer)
        params = _gradients_of(optimizer.params)
        self._overflowed[id(optimizer)] = any(bool(p.grad.isinf().any()) for p in params)
