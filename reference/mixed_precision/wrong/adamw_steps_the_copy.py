# base = "solution"
# caught_by = "MasterAdamW.small_updates"
# cause = "wrong_value"
# also_fails = [
#   "MasterAdamW.trajectory",
#   "MasterAdamW.decay",
#   "MasterAdamW.without_gradient",
#   "MasterAdamW.tied",
#   "MasterAdamW.round_trip",
# ]

"""Updates the low-precision weights: a small step is rounded away."""

# ruff: noqa: F821 - appended to solution.py


class MasterAdamW(MasterAdamW):
    def step(self):
        with torch.no_grad():
            for slot in self._slots:
                slot.master.copy_(slot.parameter)
        super().step()
