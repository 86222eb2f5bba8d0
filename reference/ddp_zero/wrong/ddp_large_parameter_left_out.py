# base = "solution"
# caught_by = "DDP.buckets"
# cause = "wrong_value"
# also_fails = []

"""A parameter that is larger than a bucket is in none."""

# ruff: noqa: F821 - appended to solution.py


class DDP(DDP):
    def __init__(self, module, *, bucket_bytes=1 << 20):
        super().__init__(module, bucket_bytes=bucket_bytes)
        self._large = [p for p in self._params if p.nbytes > bucket_bytes and p.nbytes > 3000]

    def finish_backward(self):
        kept = [None if p.grad is None else p.grad.clone() for p in self._large]
        super().finish_backward()
        for param, gradient in zip(self._large, kept, strict=True):
            param.grad = gradient
