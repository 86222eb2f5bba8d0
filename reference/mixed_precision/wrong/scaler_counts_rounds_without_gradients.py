# base = "solution"
# caught_by = "GradScaler.no_gradients"
# cause = "wrong_value"

"""A round without any gradient counts as a good one."""

# ruff: noqa: F821 - appended to solution.py


class GradScaler(GradScaler):
    def update(self):
        self._had_gradient = True
        super().update()
