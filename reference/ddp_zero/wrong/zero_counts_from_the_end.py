# base = "solution"
# caught_by = "ZeroOptimizer.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Loads a state of parameter -1 into the last one."""

# ruff: noqa: F821 - appended to solution.py


class ZeroOptimizer(ZeroOptimizer):
    def _require_fit(self, state_dict):
        count = len(self._params())
        state = {n + count if n < 0 else n: entry for n, entry in state_dict["state"].items()}
        super()._require_fit({**state_dict, "state": state})
