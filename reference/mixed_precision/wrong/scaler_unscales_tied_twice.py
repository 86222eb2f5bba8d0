# base = "solution"
# caught_by = "GradScaler.unscale_once"
# cause = "wrong_value"

"""Divides a tied gradient as often as it stands in the list."""

# ruff: noqa: F821 - appended to solution.py


class GradScaler(GradScaler):
    def unscale_(self, optimizer):
        known = set(self._divided)
        super().unscale_(optimizer)
        seen = set()
        for p in optimizer.params:
            if p in seen and p not in known and p.grad is not None:
                _divide(p.grad, self._scale)
            seen.add(p)
