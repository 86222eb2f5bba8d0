# base = "solution"
# caught_by = "GradScaler.order_of_calls"
# cause = "wrong_error"

"""What comes twice is done nothing about."""

# ruff: noqa: F821 - appended to solution.py


class GradScaler(GradScaler):
    def unscale_(self, optimizer):
        if id(optimizer) not in self._overflowed:
            super().unscale_(optimizer)
