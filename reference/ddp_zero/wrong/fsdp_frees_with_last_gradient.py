# base = "solution"
# caught_by = "FSDP.frozen"
# cause = "crash"
# also_fails = []

"""A unit is freed with its last gradient; the gradient of its input may still need a frozen weight.

The bias of a linear layer has its gradient before the weight is multiplied.
"""

# ruff: noqa: F821 - appended to solution.py


class FSDP(FSDP):
    def _end(self, unit):
        if unit.waiting == 0:
            unit.reduce()
