# base = "solution"
# caught_by = "FSDP.accumulation"
# cause = "wrong_value"
# also_fails = []

"""Writes the gradient of a pass over that of the one before."""

# ruff: noqa: F821 - appended to solution.py


class _Flat(_Flat):
    def reduce(self):
        if any(param.grad is not None for param in self.params):
            self.shard.grad = None
        super().reduce()
