# base = "solution"
# caught_by = "MasterAdamW.trajectory"
# cause = "wrong_value"
# also_fails = [
#   "MasterAdamW.decay",
#   "MasterAdamW.without_gradient",
#   "MasterAdamW.tied",
#   "MasterAdamW.round_trip",
# ]

"""Keeps moments in bfloat16, which halves their bytes."""

# ruff: noqa: F821 - appended to solution.py


class MasterAdamW(MasterAdamW):
    def step(self):
        super().step()
        for slot in self._slots:
            slot.m.copy_(slot.m.bfloat16())
            slot.v.copy_(slot.v.bfloat16())
