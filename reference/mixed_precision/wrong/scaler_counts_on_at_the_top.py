# base = "solution"
# caught_by = "GradScaler.combinations"
# cause = "wrong_value"

"""Where the scale cannot grow any more, the count of good rounds goes on."""

# ruff: noqa: F821 - appended to solution.py


class GradScaler(GradScaler):
    def update(self):
        before, top = self._good_rounds, self._scale == LARGEST_SCALE
        bad = any(self._overflowed.values())
        had = self._had_gradient
        super().update()
        if top and had and not bad:
            self._good_rounds = before + 1
