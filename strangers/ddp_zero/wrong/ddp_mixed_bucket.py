# base: plain_loops
# bug: a float32 and a float64 parameter in turns: float64 gradients exact to 1e-12; they travel in the dtype of the bucket's first parameter
# problem: DDP
# says: "A bucket holds gradients of one dtype"


class DDP(nn.Module):
    """Lists of parameters; a bucket is concatenated when it leaves."""

    def __init__(self, module: nn.Module, *, bucket_bytes: int = 1 << 20) -> None:
        super().__init__()
        if bucket_bytes < 1:
            raise ValueError("bucket_bytes must be at least 1")
        params = [param for param in module.parameters() if param.requires_grad]
        if not params:
            raise ValueError("no parameter requires a gradient")
        self.module = module
        self.syncing = True
        self._params = params
        self._buckets: list[list[Parameter]] = []
        self._where: dict[Parameter, int] = {}
        size = 0
        for param in reversed(params):
            bytes_ = param.numel() * param.element_size()
            last = self._buckets[-1] if self._buckets else None
            if last is None or size + bytes_ > bucket_bytes:
                self._buckets.append([])
                size = 0
            self._buckets[-1].append(param)
            self._where[param] = len(self._buckets) - 1
            size += bytes_
        for param in params:
            param.register_post_accumulate_grad_hook(self._ready)
        self._reset()

    def _reset(self) -> None:
        self._missing = [len(bucket) for bucket in self._buckets]
        self._works: list[tuple[Any, Tensor]] = []

    def _ready(self, param: Tensor) -> None:
        if not self.syncing:
            return
        self._missing[self._where[param]] -= 1
        while len(self._works) < len(self._buckets) and self._missing[len(self._works)] <= 0:
            self._launch()

    def _launch(self) -> None:
        parts = []
        for param in self._buckets[len(self._works)]:
            grad = torch.zeros_like(param) if param.grad is None else param.grad
            dtype = self._buckets[len(self._works)][0].dtype
            parts.append(grad.detach().reshape(-1).to(dtype))
        flat = torch.cat(parts)
        self._works.append((dist.all_reduce(flat, async_op=True), flat))

    def forward(self, *args: object, **kwargs: object) -> Tensor:
        return self.module(*args, **kwargs)

    def no_sync(self) -> AbstractContextManager[None]:
        return _NoSync(self)

    def finish_backward(self) -> None:
        while len(self._works) < len(self._buckets):
            self._launch()
        used = torch.tensor([param.grad is not None for param in self._params], dtype=torch.uint8)
        dist.all_reduce(used, op=dist.ReduceOp.MAX)
        flags = dict(zip(self._params, used.tolist(), strict=True))
        for bucket, (work, flat) in zip(self._buckets, self._works, strict=True):
            work.wait()
            flat /= dist.get_world_size()
            begin = 0
            for param in bucket:
                piece = flat[begin : begin + param.numel()].view(param.shape)
                begin += param.numel()
                if flags[param]:
                    param.grad = piece.to(param.dtype, copy=True)
        self._reset()
