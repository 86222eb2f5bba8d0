# base = "solution"
# caught_by = "MasterAdamW.trajectory"
# cause = "wrong_value"

"""Decays float32 gradients in place, as momentum of the caller."""

# ruff: noqa: F821 - appended to solution.py


class MasterAdamW(MasterAdamW):
    @torch.no_grad()
    def step(self):
        super().step()
        for p in dict.fromkeys(self.params):
            if p.grad is not None and p.grad.dtype is torch.float32:
                p.grad.mul_(0.999)
