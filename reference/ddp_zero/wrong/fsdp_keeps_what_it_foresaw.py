# base = "solution"
# caught_by = "FSDP.combinations"
# cause = "wrong_value"
# also_fails = []

"""Gathers ahead what ran next in the last pass; what then does not run stays, and grows old."""

# ruff: noqa: F821 - appended to solution.py


class FSDP(FSDP):
    def forward(self, *args, **kwargs):
        self._last, self._order = self._order, []
        self._root.free()
        self._root.gather()
        result = self.module(*args, **kwargs)
        if not torch.is_grad_enabled():
            self._root.free()
        return result
