# base = "solution"
# caught_by = "MasterAdamW.state_memory"
# cause = "too_much_memory"

"""Right, but copies the gradients of all parameters before the first one is used."""

# ruff: noqa: F821 - appended to solution.py


class MasterAdamW(MasterAdamW):
    @torch.no_grad()
    def step(self):
        live = [slot for slot in self._slots if slot.parameter.grad is not None]
        gradients = [slot.parameter.grad.clone() for slot in live]
        for slot, gradient in zip(live, gradients, strict=True):
            slot.step(gradient, self._rule)
