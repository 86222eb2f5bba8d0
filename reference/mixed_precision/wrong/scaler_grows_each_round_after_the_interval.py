# base = "solution"
# caught_by = "GradScaler.growth"
# cause = "wrong_value"
# also_fails = [
#   "GradScaler.save_and_load",
# ]

"""Does not begin to count again when the scale has grown."""

# ruff: noqa: F821 - appended to solution.py


class GradScaler(GradScaler):
    def update(self):
        before = self._good_rounds
        super().update()
        if before == self._interval - 1 and self._good_rounds == 0 and before > 0:
            self._good_rounds = self._interval - 1
