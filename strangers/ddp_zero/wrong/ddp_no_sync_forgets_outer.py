# base: interleaved
# bug: with no_sync(): with no_sync(): pass; then a backward in the outer context should send nothing; it launches buckets, so the sum of passes is averaged twice or out of step
# problem: DDP
# says: "It ends, with or without an exception, as it began: contexts may be nested."


class DDP(nn.Module):
    """A table of bucket numbers; counters in tensors; hooks on the graph's own nodes."""

    def __init__(self, module: nn.Module, *, bucket_bytes: int = 1 << 20) -> None:
        super().__init__()
        if not bucket_bytes >= 1:
            raise ValueError("a bucket holds at least a byte")
        self.module = module
        self._trained = [p for p in module.parameters() if p.requires_grad]
        if not self._trained:
            raise ValueError("there is nothing to average")
        self._order = list(range(len(self._trained)))[::-1]
        self._bucket, bucket, size, dtype = {}, -1, 0, None
        for number in self._order:
            param = self._trained[number]
            own = param.numel() * param.element_size()
            if dtype != param.dtype or size + own > bucket_bytes:
                bucket, size, dtype = bucket + 1, 0, param.dtype
            size += own
            self._bucket[number] = bucket
        self._count = bucket + 1
        self._muted = False
        self._nodes = []
        for number, param in enumerate(self._trained):
            with torch.enable_grad():
                node = param.view_as(param).grad_fn.next_functions[0][0]
            node.register_hook(partial(self._seen, number))
            self._nodes.append(node)
        self._clear()

    def _clear(self) -> None:
        self._left = [0] * self._count
        for number in self._order:
            self._left[self._bucket[number]] += 1
        self._flying: list[tuple[Tensor, Any]] = []

    def _members(self, bucket: int) -> list[Parameter]:
        return [self._trained[n] for n in self._order if self._bucket[n] == bucket]

    @torch.no_grad()
    def _seen(self, number: int, *_: object) -> None:
        if self._muted:
            return
        self._left[self._bucket[number]] -= 1
        while len(self._flying) < self._count and self._left[len(self._flying)] <= 0:
            self._fly()

    def _fly(self) -> None:
        members = self._members(len(self._flying))
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in members]
        flat = torch.cat([grad.reshape(-1) for grad in grads])
        self._flying.append((flat, dist.all_reduce(flat, async_op=True)))

    def forward(self, *args: object, **kwargs: object) -> Tensor:
        return self.module(*args, **kwargs)

    @contextmanager
    def no_sync(self) -> Any:
        before, self._muted = self._muted, True
        try:
            yield
        finally:
            self._muted = False

    @torch.no_grad()
    def finish_backward(self) -> None:
        while len(self._flying) < self._count:
            self._fly()
        used = _used_anywhere([p.grad is not None for p in self._trained])
        live = {p for p, flag in zip(self._trained, used, strict=True) if flag}
        for bucket, (flat, work) in enumerate(self._flying):
            work.wait()
            at = 0
            for param in self._members(bucket):
                if param in live:
                    mean = flat[at : at + param.numel()].view(param.shape)
                    param.grad = torch.div(mean, dist.get_world_size())
                at += param.numel()
        self._clear()
