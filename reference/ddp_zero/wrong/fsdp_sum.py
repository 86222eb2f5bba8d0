# base = "solution"
# caught_by = "FSDP.training"
# cause = "wrong_value"
# also_fails = [
#   "FSDP.nested",
#   "FSDP.tied",
#   "FSDP.odd_sizes",
#   "FSDP.frozen",
#   "FSDP.evaluation",
#   "FSDP.accumulation",
# ]

"""The sum over ranks, not the mean."""

# ruff: noqa: F821 - appended to solution.py


class _Flat(_Flat):
    def reduce(self):
        for param in self.params:
            if param.grad is not None:
                param.grad *= self._world
        super().reduce()
