# base = "solution"
# caught_by = "ZeroOptimizer.checkpoint"
# cause = "wrong_value"
# also_fails = []

"""Moments are taken out of the state that is loaded; who loads it twice finds none."""

# ruff: noqa: F821 - appended to solution.py


class ZeroOptimizer(ZeroOptimizer):
    def load_state_dict(self, state_dict):
        super().load_state_dict(state_dict)
        for number in list(state_dict["state"]):
            state_dict["state"].pop(number)
