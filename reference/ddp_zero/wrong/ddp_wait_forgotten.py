# base = "solution"
# caught_by = "DDP.buckets"
# cause = "wrong_value"
# also_fails = ["DDP.mixed_dtypes", "DDP.unused", "DDP.accumulation", "DDP.training"]

"""Copies buckets back as soon as all are launched, and waits for them afterwards.

The all-reduce runs on a copy: the wire is always slower than this, but a test must not hope so.
"""

# ruff: noqa: F821 - appended to solution.py


class _Hasty(_Bucket):
    def launch(self):
        for param in self.params:
            if param not in self._taken:
                self.take(param)
        self._sent = self._flat.clone()
        self._work = dist.all_reduce(self._sent, async_op=True)


class DDP(DDP):
    def __init__(self, module, *, bucket_bytes=1 << 20):
        super().__init__(module, bucket_bytes=bucket_bytes)
        self._buckets = [_Hasty(bucket.params) for bucket in self._buckets]
        self._bucket_of = {p: bucket for bucket in self._buckets for p in bucket.params}
