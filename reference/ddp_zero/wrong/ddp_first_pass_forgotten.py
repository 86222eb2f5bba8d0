# base = "solution"
# caught_by = "DDP.accumulation"
# cause = "wrong_value"
# also_fails = []

"""Takes what had no gradient in the last pass for unused: `no_sync` may have added to it."""

# ruff: noqa: F821 - appended to solution.py


class DDP(DDP):
    def _on_gradient(self, param):
        if self._syncs:
            self.__dict__.setdefault("_fired", set()).add(param)
        super()._on_gradient(param)

    def finish_backward(self):
        fired = self.__dict__.pop("_fired", set())
        for param in self._params:
            if param not in fired:
                param.grad = None
        super().finish_backward()
