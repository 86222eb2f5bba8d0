# base = "solution"
# caught_by = "GradScaler.overflow"
# cause = "wrong_value"

"""The count of good rounds goes on across an overflow."""

# ruff: noqa: F821 - appended to solution.py


class GradScaler(GradScaler):
    def update(self):
        before = self._good_rounds
        overflowed = any(self._overflowed.values())
        super().update()
        if overflowed:
            self._good_rounds = before
