# base = "solution"
# caught_by = "FSDP.tied"
# cause = "wrong_value"
# also_fails = []

"""Gives each unit a copy of a parameter that two of them share."""

# ruff: noqa: F821 - appended to solution.py


class FSDP(FSDP):
    def __init__(self, module, units):
        if "unembed" in units:
            weight = module.unembed.weight
            module.unembed.weight = Parameter(weight.detach().clone())
        super().__init__(module, units)

    def full_state(self):
        state = super().full_state()
        return {name: whole for name, whole in state.items() if name != "unembed.weight"}
