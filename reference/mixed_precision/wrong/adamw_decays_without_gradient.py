# base = "solution"
# caught_by = "MasterAdamW.without_gradient"
# cause = "wrong_value"

"""Decays parameters that have no gradient: unused ones shrink."""

# ruff: noqa: F821 - appended to solution.py


class MasterAdamW(MasterAdamW):
    @torch.no_grad()
    def step(self):
        for slot in self._slots:
            if slot.parameter.grad is None:
                slot.master.mul_(1 - self._rule.lr * self._rule.weight_decay)
                slot.publish()
        super().step()
