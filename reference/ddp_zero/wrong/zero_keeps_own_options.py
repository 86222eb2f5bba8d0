# base = "solution"
# caught_by = "ZeroOptimizer.checkpoint"
# cause = "wrong_value"
# also_fails = ["ZeroOptimizer.groups"]

"""Loads the moments and keeps the options that the constructor was given."""

# ruff: noqa: F821 - appended to solution.py


class ZeroOptimizer(ZeroOptimizer):
    def load_state_dict(self, state_dict):
        options = [dict(group) for group in self.param_groups]
        super().load_state_dict(state_dict)
        for group, own in zip(self.param_groups, options, strict=True):
            group.update(own)
