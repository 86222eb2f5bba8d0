# base = "solution"
# caught_by = "GradScaler.growth"
# cause = "wrong_value"
# also_fails = [
#   "GradScaler.overflow",
#   "GradScaler.two_optimizers",
#   "GradScaler.smallest_scale",
#   "GradScaler.save_and_load",
# ]

"""Says the scale that it began with."""

# ruff: noqa: F821 - appended to solution.py


class GradScaler(GradScaler):
    def __init__(self, **keywords):
        super().__init__(**keywords)
        self._first = self._scale

    def get_scale(self):
        return self._first
