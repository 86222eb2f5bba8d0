# base = "solution"
# caught_by = "GradScaler.combinations"
# cause = "wrong_value"

"""Gives parameters new gradients, instead of dividing those that are there."""

# ruff: noqa: F821 - appended to solution.py


class GradScaler(GradScaler):
    def unscale_(self, optimizer):
        super().unscale_(optimizer)
        for p in optimizer.params:
            p.grad = None if p.grad is None else p.grad.clone()
