# base = "solution"
# caught_by = "ZeroOptimizer.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Looks at the shape of m alone: a v of another shape is taken as it lies in memory."""

# ruff: noqa: F821 - appended to solution.py


class ZeroOptimizer(ZeroOptimizer):
    def _require_fit(self, state_dict):
        state = {
            number: {**entry, "exp_avg_sq": entry["exp_avg"]}
            for number, entry in state_dict["state"].items()
        }
        super()._require_fit({**state_dict, "state": state})
