# base = "solution"
# caught_by = "GradScaler.combinations"
# cause = "wrong_value"

"""Asks for overflow only where it divides: who shares a parameter with another steps."""

# ruff: noqa: F821 - appended to solution.py


class GradScaler(GradScaler):
    @torch.no_grad()
    def unscale_(self, optimizer):
        before = set(self._divided)
        super().unscale_(optimizer)
        mine = [p for p in _gradients_of(optimizer.params) if p not in before]
        self._overflowed[id(optimizer)] = _overflows(mine)
