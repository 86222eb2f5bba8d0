# base = "solution"
# caught_by = "DDP.buckets"
# cause = "wrong_value"
# also_fails = ["DDP.mixed_dtypes", "DDP.unused", "DDP.accumulation", "DDP.training"]

"""The sum over ranks, not the mean."""

# ruff: noqa: F821 - appended to solution.py


class _Summed(_Bucket):
    def wait(self):
        super().wait()
        self._flat *= dist.get_world_size()


class DDP(DDP):
    def __init__(self, module, *, bucket_bytes=1 << 20):
        super().__init__(module, bucket_bytes=bucket_bytes)
        self._buckets = [_Summed(bucket.params) for bucket in self._buckets]
        self._bucket_of = {p: bucket for bucket in self._buckets for p in bucket.params}
