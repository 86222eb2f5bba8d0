# base = "solution"
# caught_by = "DDP.buckets"
# cause = "wrong_value"
# also_fails = ["DDP.mixed_dtypes", "DDP.unused", "DDP.accumulation", "DDP.training"]

"""Launches a bucket when the next gradient does not fit in: the last one is never launched."""

# ruff: noqa: F821 - appended to solution.py


class DDP(DDP):
    def finish_backward(self):
        last = self._buckets[-1]
        kept = {p: None if p.grad is None else p.grad.clone() for p in last.params}
        super().finish_backward()
        for param, gradient in kept.items():
            param.grad = gradient
