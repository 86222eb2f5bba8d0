# base = "solution"
# caught_by = "FSDP.combinations"
# cause = "crash"
# also_fails = []

"""Counts gradients on from the last pass: where one had none, the next pass frees too soon."""

# ruff: noqa: F821 - appended to solution.py


class _Unit(_Unit):
    def reduce(self):
        left = self.waiting
        super().reduce()
        self.waiting = left
