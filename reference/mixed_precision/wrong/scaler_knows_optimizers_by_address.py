# base = "solution"
# caught_by = "GradScaler.order_of_calls"
# cause = "crash"

"""Notes the address of an optimizer, which another one may have when it is gone."""

# ruff: noqa: F821 - appended to solution.py


class GradScaler(GradScaler):
    def unscale_(self, optimizer):
        super().unscale_(optimizer)
        self._kept.clear()
