# base = "solution"
# caught_by = "ZeroOptimizer.checkpoint"
# cause = "wrong_value"
# also_fails = ["ZeroOptimizer.groups"]

"""Counts steps from 1 again after loading: the moments are corrected a second time."""

# ruff: noqa: F821 - appended to solution.py


class ZeroOptimizer(ZeroOptimizer):
    def load_state_dict(self, state_dict):
        super().load_state_dict(state_dict)
        self._steps = {}
