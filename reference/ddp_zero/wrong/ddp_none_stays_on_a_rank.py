# base = "solution"
# caught_by = "DDP.unused"
# cause = "wrong_value"
# also_fails = []

"""A rank that did not use a parameter gets no gradient, and steps away from the others."""

# ruff: noqa: F821 - appended to solution.py


class _Own(_Bucket):
    def give_back(self, param):
        if param.grad is not None:
            super().give_back(param)


class DDP(DDP):
    def __init__(self, module, *, bucket_bytes=1 << 20):
        super().__init__(module, bucket_bytes=bucket_bytes)
        self._buckets = [_Own(bucket.params) for bucket in self._buckets]
        self._bucket_of = {p: bucket for bucket in self._buckets for p in bucket.params}
