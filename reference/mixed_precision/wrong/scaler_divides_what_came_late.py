# base = "solution"
# caught_by = "GradScaler.order_of_calls"
# cause = "wrong_value"

"""Divides gradients that came since, and only then refuses an optimizer that comes twice."""

# ruff: noqa: F821 - appended to solution.py


class GradScaler(GradScaler):
    @torch.no_grad()
    def unscale_(self, optimizer):
        if id(optimizer) in self._overflowed:
            for p in _gradients_of(optimizer.params):
                if p not in self._divided:
                    _divide(p.grad, self._scale)
        super().unscale_(optimizer)
