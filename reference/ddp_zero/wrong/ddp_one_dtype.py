# base = "solution"
# caught_by = "DDP.mixed_dtypes"
# cause = "wrong_value"
# also_fails = []

"""Puts gradients of all dtypes into float32 buckets: float64 loses half of its digits."""

# ruff: noqa: F821 - appended to solution.py


class _Float32(_Bucket):
    def __init__(self, params):
        super().__init__(params)
        self._flat = torch.zeros(self._flat.numel(), dtype=torch.float32)
        parts = self._flat.split([p.numel() for p in params])
        self._views = {p: part.view(p.shape) for p, part in zip(params, parts, strict=True)}

    def give_back(self, param):
        param.grad = (self._views[param] / dist.get_world_size()).to(param.dtype)


class DDP(DDP):
    def __init__(self, module, *, bucket_bytes=1 << 20):
        super().__init__(module, bucket_bytes=bucket_bytes)
        self._buckets = [_Float32(bucket.params) for bucket in self._buckets]
        self._bucket_of = {p: bucket for bucket in self._buckets for p in bucket.params}
