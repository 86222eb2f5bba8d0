# base = "solution"
# caught_by = "GradScaler.save_and_load"
# cause = "wrong_value"

"""Loads the scale, and begins to count anew."""

# ruff: noqa: F821 - appended to solution.py


class GradScaler(GradScaler):
    def load_state_dict(self, state):
        super().load_state_dict(state)
        self._good_rounds = 0
