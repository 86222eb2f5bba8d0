# base = "solution"
# caught_by = "GradScaler.growth"
# cause = "wrong_value"
# also_fails = [
#   "GradScaler.overflow",
#   "GradScaler.no_gradients",
#   "GradScaler.save_and_load",
# ]

"""Does not begin to count again when the scale has grown."""

# ruff: noqa: F821 - appended to solution.py


class GradScaler(GradScaler):
    def update(self):
        good = self._had_gradient and not any(self._overflowed.values())
        super().update()
        if good and self._good_rounds == 0:
            self._good_rounds = self._interval - 1
