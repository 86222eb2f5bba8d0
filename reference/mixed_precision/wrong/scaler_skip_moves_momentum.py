# base = "solution"
# caught_by = "GradScaler.overflow"
# cause = "wrong_value"
# also_fails = [
#   "GradScaler.two_optimizers",
# ]

"""Skips by stepping with gradients of zero: momentum moves on."""

# ruff: noqa: F821 - appended to solution.py


class GradScaler(GradScaler):
    def step(self, optimizer):
        stepped = super().step(optimizer)
        if not stepped:
            for p in _gradients_of(optimizer.params):
                p.grad.zero_()
            optimizer.step()
        return stepped
