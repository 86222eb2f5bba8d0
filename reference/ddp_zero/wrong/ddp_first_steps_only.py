# base = "solution"
# caught_by = "DDP.training"
# cause = "wrong_value"
# also_fails = []

"""Counts its launches down from two steps' worth and never starts the count anew."""

# ruff: noqa: F821 - appended to solution.py


class DDP(DDP):
    def finish_backward(self):
        if self.__dict__.get("_steps", 0) == 2:
            return
        super().finish_backward()
        self._steps = self.__dict__.get("_steps", 0) + 1

    def _on_gradient(self, param):
        if self.__dict__.get("_steps", 0) < 2:
            super()._on_gradient(param)
