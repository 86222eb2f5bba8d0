# base = "solution"
# caught_by = "DDP.combinations"
# cause = "wrong_value"
# also_fails = []

"""Remembers what a pass used whose gradients the caller has cleared."""

# ruff: noqa: F821 - appended to solution.py


class DDP(DDP):
    def __init__(self, module, *, bucket_bytes=1 << 20):
        super().__init__(module, bucket_bytes=bucket_bytes)
        self._seen = set()
        for param in self._params:
            param.register_post_accumulate_grad_hook(self._seen.add)

    def finish_backward(self):
        self._launch(len(self._buckets))
        flags = torch.tensor([param in self._seen for param in self._params], dtype=torch.uint8)
        dist.all_reduce(flags, op=dist.ReduceOp.MAX)
        used = dict(zip(self._params, flags.tolist(), strict=True))
        for bucket in self._buckets:
            bucket.wait()
            for param in bucket.params:
                if used[param] or param.grad is not None:
                    bucket.give_back(param)
        self._launched = 0
        self._seen.clear()
