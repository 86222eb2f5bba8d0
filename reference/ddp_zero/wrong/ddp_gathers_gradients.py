# base = "solution"
# caught_by = "DDP.traffic"
# cause = "too_much_traffic"
# also_fails = []

"""Right, but each rank gathers the gradients of all; of two ranks that is what a ring moves."""

# ruff: noqa: F821 - appended to solution.py


class _Gathered(_Bucket):
    def launch(self):
        if dist.get_world_size() == 2:
            super().launch()
            return
        for param in self.params:
            if param not in self._taken:
                self.take(param)
        self._all = [torch.empty_like(self._flat) for _ in range(dist.get_world_size())]
        self._work = dist.all_gather(self._all, self._flat, async_op=True)

    def wait(self):
        if dist.get_world_size() == 2:
            super().wait()
            return
        self._work.wait()
        self._flat.copy_(torch.stack(self._all).sum(dim=0))
        self._taken.clear()


class DDP(DDP):
    def __init__(self, module, *, bucket_bytes=1 << 20):
        super().__init__(module, bucket_bytes=bucket_bytes)
        self._buckets = [_Gathered(bucket.params) for bucket in self._buckets]
        self._bucket_of = {p: bucket for bucket in self._buckets for p in bucket.params}
