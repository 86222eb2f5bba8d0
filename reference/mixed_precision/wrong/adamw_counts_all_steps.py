# base = "solution"
# caught_by = "MasterAdamW.without_gradient"
# cause = "wrong_value"

"""One count of steps for all parameters: the correction of those that waited is too small."""

# ruff: noqa: F821 - appended to solution.py


class MasterAdamW(MasterAdamW):
    @torch.no_grad()
    def step(self):
        for slot in self._slots:
            if slot.parameter.grad is None:
                slot.steps += 1
        super().step()
