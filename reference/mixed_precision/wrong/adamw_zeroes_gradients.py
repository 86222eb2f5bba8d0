# base = "solution"
# caught_by = "MasterAdamW.without_gradient"
# cause = "wrong_value"

"""Fills gradients with zeros instead of taking them away."""

# ruff: noqa: F821 - appended to solution.py


class MasterAdamW(MasterAdamW):
    def zero_grad(self):
        for p in self.params:
            if p.grad is not None:
                p.grad.zero_()
