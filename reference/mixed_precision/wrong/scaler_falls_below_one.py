# base = "solution"
# caught_by = "GradScaler.smallest_scale"
# cause = "wrong_value"

"""Halves for ever."""

# ruff: noqa: F821 - appended to solution.py


class GradScaler(GradScaler):
    def update(self):
        overflowed, free = any(self._overflowed.values()), self._scale * self._backoff
        super().update()
        if overflowed:
            self._scale = free
