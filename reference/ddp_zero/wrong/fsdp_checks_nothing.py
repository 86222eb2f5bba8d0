# base = "solution"
# caught_by = "FSDP.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Leaves out units that it does not find."""

# ruff: noqa: F821 - appended to solution.py


class FSDP(FSDP):
    def __init__(self, module, units):
        known = dict(module.named_modules())
        super().__init__(module, [name for name in dict.fromkeys(units) if name and name in known])
