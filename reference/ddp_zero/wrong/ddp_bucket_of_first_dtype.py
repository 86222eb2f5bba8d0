# base = "solution"
# caught_by = "DDP.combinations"
# cause = "wrong_value"
# also_fails = []

"""Fills large buckets without regard to dtypes; one travels in the dtype of its first gradient."""

# ruff: noqa: F821 - appended to solution.py


class DDP(DDP):
    def __init__(self, module, *, bucket_bytes=1 << 20):
        super().__init__(module, bucket_bytes=bucket_bytes)
        if bucket_bytes > 1000 and sum(p.nbytes for p in self._params) <= bucket_bytes:
            self._buckets = [_OneBucket(self._params[::-1])]
            self._bucket_of = dict.fromkeys(self._params, self._buckets[0])


class _OneBucket(_Bucket):
    def give_back(self, param):
        param.grad = (self._views[param] / dist.get_world_size()).to(param.dtype)
