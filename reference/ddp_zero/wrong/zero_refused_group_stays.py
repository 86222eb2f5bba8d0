# base = "solution"
# caught_by = "ZeroOptimizer.bad_input"
# cause = "wrong_value"
# also_fails = []

"""A group that is refused for its options is among `param_groups` already."""

# ruff: noqa: F821 - appended to solution.py


class ZeroOptimizer(ZeroOptimizer):
    def add_param_group(self, group):
        try:
            super().add_param_group(group)
        except ValueError:
            params = [param for param in group["params"] if param not in set(self._params())]
            if self.param_groups and params:
                self.param_groups.append({**self._defaults, **group, "params": params})
            raise
