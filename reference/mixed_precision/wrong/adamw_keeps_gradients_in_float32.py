# base = "solution"
# caught_by = "MasterAdamW.state_memory"
# cause = "too_much_memory"

"""Keeps a float32 gradient for every parameter: 20 bytes instead of 16."""

# ruff: noqa: F821 - appended to solution.py


class MasterAdamW(MasterAdamW):
    @torch.no_grad()
    def step(self):
        self._wide = [
            p.grad if p.grad is None else p.grad.float() for p in dict.fromkeys(self.params)
        ]
        for slot, gradient in zip(self._slots, self._wide, strict=True):
            if gradient is not None:
                slot.step(gradient, self._rule)
