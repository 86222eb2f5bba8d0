# base = "solution"
# caught_by = "GradScaler.bad_input"
# cause = "wrong_error"

"""Asks nothing of the state that it loads."""

# ruff: noqa: F821 - appended to solution.py


class GradScaler(GradScaler):
    def load_state_dict(self, state):
        self._scale, self._good_rounds = float(state["scale"]), int(state.get("good_rounds", 0))
        self._begin_round()
