# base = "solution"
# caught_by = "ZeroOptimizer.groups"
# cause = "wrong_value"
# also_fails = []

"""`params` of a saved group counts from 0 again in each group."""

# ruff: noqa: F821 - appended to solution.py


class ZeroOptimizer(ZeroOptimizer):
    def state_dict(self):
        saved = super().state_dict()
        for group in saved.get("param_groups", []):
            group["params"] = list(range(len(group["params"])))
        return saved
