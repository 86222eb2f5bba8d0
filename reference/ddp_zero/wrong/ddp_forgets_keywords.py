# base = "solution"
# caught_by = "DDP.unused"
# cause = "wrong_value"
# also_fails = [
#   "DDP.accumulation",
# ]

"""`forward` passes no keywords on to the module."""

# ruff: noqa: F821 - appended to solution.py


class DDP(DDP):
    def forward(self, *args, **kwargs):
        return self.module(*args)
