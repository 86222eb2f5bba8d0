# base = "solution"
# caught_by = "ZeroOptimizer.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Options of a group that is added later are taken as they are."""

# ruff: noqa: F821 - appended to solution.py


class ZeroOptimizer(ZeroOptimizer):
    def add_param_group(self, group):
        wanted = group.get("lr", self._defaults["lr"])
        super().add_param_group({**group, "lr": 0.0})
        self.param_groups[-1]["lr"] = wanted
