# base = "solution"
# caught_by = "ZeroOptimizer.combinations"
# cause = "wrong_value"
# also_fails = []

"""Steps a frozen parameter that has a gradient."""

# ruff: noqa: F821 - appended to solution.py


class ZeroOptimizer(ZeroOptimizer):
    @torch.no_grad()
    def step(self):
        super().step()
        for group in self.param_groups:
            for param in group["params"]:
                if not param.requires_grad and param.grad is not None:
                    param.sub_(group["lr"] * param.grad.sign())
