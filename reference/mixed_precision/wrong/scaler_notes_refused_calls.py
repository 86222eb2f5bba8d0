# base = "solution"
# caught_by = "GradScaler.combinations"
# cause = "wrong_error"

"""A call that is refused begins the round: `update` ends it."""

# ruff: noqa: F821 - appended to solution.py


class GradScaler(GradScaler):
    def unscale_(self, optimizer):
        try:
            super().unscale_(optimizer)
        except ValueError:
            self._overflowed["refused"] = False
            raise
