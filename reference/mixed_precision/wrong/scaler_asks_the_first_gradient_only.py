# base = "solution"
# caught_by = "GradScaler.overflow"
# cause = "wrong_value"
# also_fails = [
#   "GradScaler.two_optimizers",
#   "GradScaler.smallest_scale",
# ]

"""Looks for inf and NaN in the first gradient."""

# ruff: noqa: F821 - appended to solution.py


class GradScaler(GradScaler):
    def unscale_(self, optimizer):
        super().unscale_(optimizer)
        self._overflowed[id(optimizer)] = _overflows(_gradients_of(optimizer.params)[:1])
