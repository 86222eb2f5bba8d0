# base = "solution"
# caught_by = "DDP.training"
# cause = "wrong_value"
# also_fails = []

"""Counts down to the launch of each bucket and never starts the count anew."""

# ruff: noqa: F821 - appended to solution.py


class DDP(DDP):
    def finish_backward(self):
        if self.__dict__.setdefault("_done", False):
            return
        super().finish_backward()
        self._done = True

    def _on_gradient(self, param):
        if not self.__dict__.get("_done"):
            super()._on_gradient(param)
