# base = "solution"
# caught_by = "ZeroOptimizer.stage_1_memory"
# cause = "too_much_memory"
# also_fails = []

"""Right, but stage 1 lays all gradients side by side before it divides them."""

# ruff: noqa: F821 - appended to solution.py


class ZeroOptimizer(ZeroOptimizer):
    def step(self):
        for dtype in (torch.float32, torch.float64):
            params = [param for param in self._params() if param.dtype == dtype]
            used = [param for param in params if param.grad is not None]
            none = torch.zeros(0, dtype=dtype)
            flat = torch.cat([none, *(param.grad.reshape(-1) for param in used)])
            parts = flat.split([param.numel() for param in used]) if used else ()
            for param, part in zip(used, parts, strict=True):
                param.grad = part.view(param.shape)
        super().step()
