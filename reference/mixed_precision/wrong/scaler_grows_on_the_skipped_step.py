# base = "solution"
# caught_by = "GradScaler.overflow"
# cause = "wrong_value"
# also_fails = [
#   "GradScaler.two_optimizers",
# ]

"""Counts the skipped round as a good one, so that the scale may grow on it."""

# ruff: noqa: F821 - appended to solution.py


class GradScaler(GradScaler):
    def update(self):
        before = self._good_rounds
        overflowed = any(self._overflowed.values())
        super().update()
        if overflowed:
            self._good_rounds = before + 1
            if self._good_rounds >= self._interval:
                self._scale, self._good_rounds = self._scale * self._growth, 0
