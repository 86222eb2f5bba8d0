# base = "solution"
# caught_by = "GradScaler.bad_input"
# cause = "wrong_value"

"""Divides gradient by gradient until one has another dtype."""

# ruff: noqa: F821 - appended to solution.py


class GradScaler(GradScaler):
    @torch.no_grad()
    def unscale_(self, optimizer):
        params = [p for p in dict.fromkeys(optimizer.params) if p.grad is not None]
        if any(p.grad.dtype not in UNSCALED for p in params):
            _divide(params[0].grad, self._scale)
        super().unscale_(optimizer)
