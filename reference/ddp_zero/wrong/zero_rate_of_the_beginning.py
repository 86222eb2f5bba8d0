# base = "solution"
# caught_by = "ZeroOptimizer.groups"
# cause = "wrong_value"
# also_fails = []

"""Steps by the learning rates that groups had when they were added."""

# ruff: noqa: F821 - appended to solution.py


class ZeroOptimizer(ZeroOptimizer):
    def step(self):
        first = self.__dict__.setdefault("_first", {})
        now = [group["lr"] for group in self.param_groups]
        for number, group in enumerate(self.param_groups):
            group["lr"] = first.setdefault(number, group["lr"])
        super().step()
        for group, lr in zip(self.param_groups, now, strict=True):
            group["lr"] = lr
