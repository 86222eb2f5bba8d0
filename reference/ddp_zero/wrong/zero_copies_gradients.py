# base = "solution"
# caught_by = "ZeroOptimizer.stage_1_memory"
# cause = "too_much_memory"
# also_fails = []

"""Right, but stage 1 lays all gradients side by side before it divides them."""

# ruff: noqa: F821 - appended to solution.py


class ZeroOptimizer(ZeroOptimizer):
    def step(self):
        used = [param for param in self._params() if param.grad is not None]
        flat = torch.cat([torch.zeros(0), *(param.grad.reshape(-1) for param in used)])
        parts = flat.split([param.numel() for param in used]) if used else ()
        for param, part in zip(used, parts, strict=True):
            param.grad = part.view(param.shape)
        super().step()
