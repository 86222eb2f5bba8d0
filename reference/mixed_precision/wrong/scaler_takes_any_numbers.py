# base = "solution"
# caught_by = "GradScaler.bad_input"
# cause = "wrong_error"

"""Asks nothing of its factors."""

# ruff: noqa: F821 - appended to solution.py


class GradScaler(GradScaler):
    def __init__(self, *, growth_factor=2.0, backoff_factor=0.5, **keywords):
        super().__init__(**keywords)
        self._growth, self._backoff = growth_factor, backoff_factor
