# base = "solution"
# caught_by = "GradScaler.overflow"
# cause = "wrong_value"
# also_fails = [
#   "GradScaler.two_optimizers",
#   "GradScaler.smallest_scale",
# ]

"""Does not adapt the scale after a skip."""

# ruff: noqa: F821 - appended to solution.py


class GradScaler(GradScaler):
    def update(self):
        if any(self._overflowed.values()):
            self._begin_round()
            return
        super().update()
