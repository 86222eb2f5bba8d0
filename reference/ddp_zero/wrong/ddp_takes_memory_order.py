# base = "solution"
# caught_by = "DDP.combinations"
# cause = "wrong_value"
# also_fails = []

"""Copies a gradient into its bucket in the order of its memory, which may be transposed."""

# ruff: noqa: F821 - appended to solution.py


def _take(self, param):
    view = self._views[param]
    if param.grad is None:
        view.zero_()
    else:
        view.view(-1).copy_(param.grad.as_strided((param.grad.numel(),), (1,)))
    self._taken.add(param)


_Bucket.take = _take
