# base = "solution"
# caught_by = "ZeroOptimizer.checkpoint"
# cause = "wrong_value"
# also_fails = ["ZeroOptimizer.groups", "ZeroOptimizer.bad_input"]

"""Saved groups have keys of their own."""

# ruff: noqa: F821 - appended to solution.py


class ZeroOptimizer(ZeroOptimizer):
    def state_dict(self):
        found = super().state_dict()
        for group in found.get("param_groups", []):
            group["stage"] = self._stage
        return found
