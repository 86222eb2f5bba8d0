# base = "solution"
# caught_by = "GradScaler.two_optimizers"
# cause = "wrong_value"

"""One overflow in a round stops every optimizer that comes after it, and before."""

# ruff: noqa: F821 - appended to solution.py


class GradScaler(GradScaler):
    def step(self, optimizer):
        if any(self._overflowed.values()) and id(optimizer) not in self._overflowed:
            self.unscale_(optimizer)
            self._overflowed[id(optimizer)] = True
        return super().step(optimizer)
