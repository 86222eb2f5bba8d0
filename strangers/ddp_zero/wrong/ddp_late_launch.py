# base: owners
# bug: three layers in three buckets: the first bucket should leave when the last layer is through; all leave only once the last bucket has a gradient, nothing is hidden (gradients are right)
# problem: DDP
# says: "It is launched as soon as it is complete"


class DDP(nn.Module):
    """Buckets are objects; hooks tell them who has arrived."""

    def __init__(self, module: nn.Module, *, bucket_bytes: int = 1 << 20) -> None:
        super().__init__()
        params = [param for param in module.parameters() if param.requires_grad]
        if bucket_bytes < 1 or not params:
            raise ValueError("bucket_bytes is below 1, or nothing requires a gradient")
        self.module = module
        self.quiet = 0
        self._buckets: list[_Bucket] = []
        self._bucket_of: dict[Parameter, _Bucket] = {}
        for param in reversed(params):
            if not self._buckets or not self._buckets[-1].fits(param, bucket_bytes):
                self._buckets.append(_Bucket(param.dtype))
            self._buckets[-1].add(param)
            self._bucket_of[param] = self._buckets[-1]
            param.register_post_accumulate_grad_hook(self._hook)

    def _hook(self, param: Parameter) -> None:
        if self.quiet:
            return
        self._bucket_of[param].arrived.add(param)
        if len(self._bucket_of[self._buckets[-1].params[-1]].arrived) == 0:
            return
        for bucket in self._buckets:
            if bucket.work is None:
                if not bucket.complete:
                    break
                with torch.no_grad():
                    bucket.launch()

    def forward(self, *args: object, **kwargs: object) -> Tensor:
        return self.module(*args, **kwargs)

    def no_sync(self) -> AbstractContextManager[None]:
        return _Quiet(self)

    @torch.no_grad()
    def finish_backward(self) -> None:
        for bucket in self._buckets:
            if bucket.work is None:
                bucket.launch()
        params = [param for bucket in self._buckets for param in bucket.params]
        used = _used_anywhere([param.grad is not None for param in params])
        live = {param for param, flag in zip(params, used, strict=True) if flag}
        for bucket in self._buckets:
            bucket.work.wait()
            for param, part in bucket.parts():
                if param in live:
                    param.grad = part / dist.get_world_size()
            bucket.clear()
