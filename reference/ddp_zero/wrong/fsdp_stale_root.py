# base = "solution"
# caught_by = "FSDP.training"
# cause = "wrong_value"
# also_fails = []

"""Gathers the root once: forward goes on with the parameters from before the first step."""

# ruff: noqa: F821 - appended to solution.py


class FSDP(FSDP):
    def __init__(self, module, units):
        super().__init__(module, units)
        if any(unit.startswith("blocks.2") for unit in units):
            self._root.free = lambda: None
