# base = "solution"
# caught_by = "ZeroOptimizer.bad_input"
# cause = "wrong_value"
# also_fails = []

"""Takes over the options of a state before it finds that the moments do not fit."""

# ruff: noqa: F821 - appended to solution.py


class ZeroOptimizer(ZeroOptimizer):
    def load_state_dict(self, state_dict):
        for group, saved in zip(self.param_groups, state_dict["param_groups"], strict=False):
            group["lr"] = saved["lr"]
        super().load_state_dict(state_dict)
