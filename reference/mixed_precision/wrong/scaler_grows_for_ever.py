# base = "solution"
# caught_by = "GradScaler.growth"
# cause = "wrong_value"

"""No largest scale."""

# ruff: noqa: F821 - appended to solution.py


class GradScaler(GradScaler):
    def update(self):
        full = self._good_rounds + 1 == self._interval and self._had_gradient
        grown = full and not any(self._overflowed.values())
        free = self._scale * self._growth
        super().update()
        if grown:
            self._scale = free
