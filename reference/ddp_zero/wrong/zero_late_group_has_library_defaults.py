# base = "solution"
# caught_by = "ZeroOptimizer.groups"
# cause = "wrong_value"
# also_fails = []

"""Options that a later group does not name are those of `torch.optim.AdamW`."""

# ruff: noqa: F821 - appended to solution.py


class ZeroOptimizer(ZeroOptimizer):
    def add_param_group(self, group):
        if self._steps:
            group = {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01} | group
        super().add_param_group(group)
