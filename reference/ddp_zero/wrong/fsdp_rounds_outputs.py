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

"""Returns the outputs of the module rounded to bfloat16."""

# ruff: noqa: F821 - appended to solution.py


class FSDP(FSDP):
    def forward(self, *args, **kwargs):
        result = super().forward(*args, **kwargs)
        return result.bfloat16().to(result.dtype)
