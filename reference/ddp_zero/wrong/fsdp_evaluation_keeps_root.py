# base = "solution"
# caught_by = "FSDP.combinations"
# cause = "wrong_value"
# also_fails = []

"""Leaves the root gathered after an evaluation, and finds it there after a step."""

# ruff: noqa: F821 - appended to solution.py


class FSDP(FSDP):
    def forward(self, *args, **kwargs):
        self._last, self._order = self._order, []
        self._root.gather()
        result = self.module(*args, **kwargs)
        for unit in self._units:
            unit.free()
        return result
