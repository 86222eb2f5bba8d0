# base = "solution"
# caught_by = "MasterAdamW.tied"
# cause = "wrong_value"

"""Steps a tied parameter as often as it stands in the list."""

# ruff: noqa: F821 - appended to solution.py


class MasterAdamW(MasterAdamW):
    @torch.no_grad()
    def step(self):
        by_parameter = {slot.parameter: slot for slot in self._slots}
        for p in self.params:
            if p.grad is not None:
                by_parameter[p].step(p.grad, self._rule)
