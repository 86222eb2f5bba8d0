# base = "solution"
# caught_by = "GradScaler.unscale_once"
# cause = "wrong_value"
# also_fails = [
#   "GradScaler.order_of_calls",
# ]

"""`step` divides, also after `unscale_` has."""

# ruff: noqa: F821 - appended to solution.py


class GradScaler(GradScaler):
    @torch.no_grad()
    def step(self, optimizer):
        done = id(optimizer) in self._overflowed and id(optimizer) not in self._stepped
        if done:
            for p in _gradients_of(optimizer.params):
                _divide(p.grad, self._scale)
        return super().step(optimizer)
