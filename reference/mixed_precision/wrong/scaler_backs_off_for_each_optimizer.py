# base = "solution"
# caught_by = "GradScaler.two_optimizers"
# cause = "wrong_value"

"""Halves once for every optimizer that overflowed."""

# ruff: noqa: F821 - appended to solution.py


class GradScaler(GradScaler):
    def update(self):
        further = sum(self._overflowed.values()) - 1
        super().update()
        for _ in range(further):
            self._scale = max(self._scale * self._backoff, 1.0)
