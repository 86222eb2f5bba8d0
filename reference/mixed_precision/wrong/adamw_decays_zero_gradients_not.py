# base = "solution"
# caught_by = "MasterAdamW.decay"
# cause = "wrong_value"

"""Takes a gradient of zeros for no gradient: no decay."""

# ruff: noqa: F821 - appended to solution.py


class MasterAdamW(MasterAdamW):
    @torch.no_grad()
    def step(self):
        for slot in self._slots:
            gradient = slot.parameter.grad
            if gradient is not None and (not gradient.numel() or bool(gradient.any())):
                slot.step(gradient, self._rule)
